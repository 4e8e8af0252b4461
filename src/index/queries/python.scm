(module . (comment)* . (expression_statement . (string) @module_doc))

(class_definition
  name: (identifier) @name
  ":" @open
  body: (block . (expression_statement . (string) @doc)?)) @class

(function_definition
  name: (identifier) @name
  ":" @open
  body: (block . (expression_statement . (string) @doc)?)) @function

(decorator) @attribute

(assignment left: (identifier) @name) @variable
(assignment left: (pattern_list (identifier) @name)) @variable
(assignment left: (pattern_list (tuple_pattern (identifier) @name))) @variable
(assignment left: (tuple_pattern (identifier) @name)) @variable
(assignment right: (assignment left: (identifier) @name)) @variable
(augmented_assignment left: (identifier) @name) @variable
(type_alias_statement left: (type (identifier) @name)) @variable

(import_statement) @import
(import_from_statement) @import
(future_import_statement) @import

(lambda) @local
