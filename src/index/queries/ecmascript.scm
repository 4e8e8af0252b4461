; What JavaScript and TypeScript have in common.
(function_declaration name: (identifier) @name body: (statement_block) @body) @function
(generator_function_declaration name: (identifier) @name body: (statement_block) @body) @function
(method_definition name: (_) @name body: (statement_block) @body) @function
(variable_declarator
  name: (identifier) @name
  value: [
    (arrow_function body: (_) @body)
    (function_expression body: (_) @body)
    (generator_function body: (_) @body)
  ]) @function
(variable_declarator name: (identifier) @name value: (class body: (class_body) @body)) @class
(assignment_expression
  left: (member_expression) @name
  right: [
    (arrow_function body: (_) @body)
    (function_expression body: (_) @body)
    (generator_function body: (_) @body)
  ]) @function
(assignment_expression
  left: (member_expression) @name
  right: (class body: (class_body) @body)) @class

(variable_declarator name: (identifier) @name) @variable
(variable_declarator name: (identifier) @name value: (object) @body) @variable
(variable_declarator
  name: (object_pattern [
    (shorthand_property_identifier_pattern) @name
    (pair_pattern value: (identifier) @name)
  ])) @variable

(import_statement) @import
(decorator) @attribute
(comment) @comment

(arrow_function) @local
(function_expression) @local
(generator_function) @local
(class_static_block) @local

; Functions of objects and the names that lead to them.
(assignment_expression left: [(identifier) (member_expression)] @name right: (object)) @scope
(pair key: (property_identifier) @name value: (object)) @scope
(pair
  key: (_) @name
  value: [
    (arrow_function body: (_) @body)
    (function_expression body: (_) @body)
    (generator_function body: (_) @body)
  ]) @function

; What has no name but its place.
(export_statement
  "default" @name
  value: [
    (arrow_function body: (_) @body)
    (function_expression body: (_) @body)
    (generator_function body: (_) @body)
  ]) @function
(export_statement "default" @name value: (class body: (class_body) @body)) @class
