(class name: (_) @name @open superclass: (_)? @open) @class
(module name: (_) @name @open) @class
(method name: (_) @name @open parameters: (_)? @open) @function
(singleton_method name: (_) @name @open parameters: (_)? @open) @function

(assignment left: (constant) @name) @variable
(assignment left: (global_variable) @name) @variable

((call method: (identifier) @_method) @import
  (#any-of? @_method "require" "require_relative" "load" "autoload"))
(comment) @comment
(lambda) @local
(heredoc_body) @tail
