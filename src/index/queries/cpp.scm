; Besides those of C.
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

(using_declaration) @import
(attribute_declaration) @attribute

; A macro between `class` and the name reads like a function.
(function_definition
  type: [(class_specifier) (struct_specifier)]
  declarator: (identifier) @name
  body: (compound_statement) @body) @class
