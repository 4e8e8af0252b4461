(function_declaration name: (identifier) @name body: (block)? @body) @function
(method_declaration
  receiver: (parameter_list
    (parameter_declaration
      type: [
        (type_identifier) @qualifier
        (pointer_type (type_identifier) @qualifier)
        (generic_type type: (type_identifier) @qualifier)
        (pointer_type (generic_type type: (type_identifier) @qualifier))
      ]))
  name: (field_identifier) @name
  body: (block)? @body) @function

(type_spec name: (type_identifier) @name) @class
(type_spec
  name: (type_identifier) @name
  type: [
    (struct_type (field_declaration_list) @body)
    (interface_type "{" @open)
  ]) @class
(type_alias name: (type_identifier) @name) @class

(const_spec name: (identifier) @name) @variable
(var_spec name: (identifier) @name) @variable

(import_declaration) @import
(package_clause) @import
(comment) @comment
(func_literal) @local
(method_elem name: (field_identifier) @name) @function
