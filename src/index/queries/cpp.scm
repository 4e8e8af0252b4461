(function_definition
  declarator: [
    (function_declarator declarator: (_) @name)
    (pointer_declarator declarator: (function_declarator declarator: (_) @name))
    (pointer_declarator
      declarator: (pointer_declarator declarator: (function_declarator declarator: (_) @name)))
  ]
  body: (compound_statement) @body) @function
(declaration
  declarator: [
    (function_declarator declarator: (identifier) @name)
    (pointer_declarator declarator: (function_declarator declarator: (identifier) @name))
    (pointer_declarator
      declarator: (pointer_declarator
        declarator: (function_declarator declarator: (identifier) @name)))
  ]) @function
(preproc_function_def name: (identifier) @name parameters: (preproc_params) @open) @function

(struct_specifier name: (type_identifier) @name body: (field_declaration_list) @body) @class
(union_specifier name: (type_identifier) @name body: (field_declaration_list) @body) @class
(enum_specifier name: (type_identifier) @name body: (enumerator_list) @body) @class
(type_definition declarator: (type_identifier) @name) @class
(type_definition
  type: [
    (struct_specifier !name body: (field_declaration_list) @body)
    (union_specifier !name body: (field_declaration_list) @body)
    (enum_specifier !name body: (enumerator_list) @body)
  ]
  declarator: (type_identifier) @name) @class
(type_definition
  declarator: (function_declarator
    declarator: (parenthesized_declarator (pointer_declarator (type_identifier) @name)))) @class

(declaration
  declarator: [
    (identifier) @name
    (init_declarator declarator: (identifier) @name)
    (init_declarator declarator: (pointer_declarator declarator: (identifier) @name))
    (init_declarator declarator: (array_declarator declarator: (identifier) @name))
    (init_declarator
      declarator: (array_declarator declarator: (array_declarator declarator: (identifier) @name)))
    (init_declarator
      declarator: (pointer_declarator declarator: (array_declarator declarator: (identifier) @name)))
    (pointer_declarator declarator: (identifier) @name)
    (array_declarator declarator: (identifier) @name)
    (init_declarator
      declarator: (function_declarator
        declarator: (parenthesized_declarator (pointer_declarator (identifier) @name))))
    (function_declarator
      declarator: (parenthesized_declarator (pointer_declarator (identifier) @name)))
  ]) @variable
; Without a value it guards a header.
(preproc_def name: (identifier) @name value: (_)) @variable

(function_definition
  declarator: (reference_declarator (function_declarator declarator: (_) @name))
  body: (compound_statement) @body) @function
(function_definition
  declarator: [(operator_cast) (qualified_identifier)] @name
  body: (compound_statement) @body) @function
(declaration declarator: (init_declarator declarator: (qualified_identifier) @name)) @variable
(field_declaration
  declarator: [
    (function_declarator
      declarator: [(field_identifier) (operator_name) (destructor_name)] @name)
    (pointer_declarator
      declarator: (function_declarator declarator: [(field_identifier) (operator_name)] @name))
    (reference_declarator
      (function_declarator declarator: [(field_identifier) (operator_name)] @name))
  ]) @function
(class_specifier name: (_) @name body: (field_declaration_list) @body) @class
(struct_specifier
  name: [(template_type) (qualified_identifier)] @name
  body: (field_declaration_list) @body) @class
(concept_definition name: (identifier) @name) @class
(alias_declaration name: (type_identifier) @name) @class

(namespace_definition name: (_) @name body: (declaration_list)) @scope
(template_declaration parameters: (template_parameter_list) @attribute)
(lambda_expression) @local

(preproc_include) @import
(using_declaration) @import
(comment) @comment
(attribute_declaration) @attribute

; A macro between `class` and the name reads like a function.
(function_definition
  type: [(class_specifier) (struct_specifier)]
  declarator: (identifier) @name
  body: (compound_statement) @body) @class
