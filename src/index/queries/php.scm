(class_declaration name: (name) @name body: (declaration_list) @body) @class
(interface_declaration name: (name) @name body: (declaration_list) @body) @class
(trait_declaration name: (name) @name body: (declaration_list) @body) @class
(enum_declaration name: (name) @name body: (enum_declaration_list) @body) @class

(function_definition name: (name) @name body: (compound_statement) @body) @function
(method_declaration name: (name) @name body: (compound_statement)? @body) @function

(const_declaration (const_element (name) @name)) @variable
(expression_statement
  (assignment_expression left: (variable_name) @name)) @variable

(namespace_use_declaration) @import
(namespace_definition name: (namespace_name) !body) @import
(expression_statement [
  (require_expression)
  (require_once_expression)
  (include_expression)
  (include_once_expression)
]) @import
(comment) @comment
(anonymous_function) @local
(arrow_function) @local
(attribute_list) @attribute
((function_call_expression
  function: (name) @_function
  arguments: (arguments . (argument (string (string_content) @name)))) @variable
  (#eq? @_function "define"))
