(struct_item name: (type_identifier) @name body: (field_declaration_list)? @body) @class
(enum_item name: (type_identifier) @name body: (enum_variant_list) @body) @class
(union_item name: (type_identifier) @name body: (field_declaration_list) @body) @class
(trait_item name: (type_identifier) @name body: (declaration_list) @body) @class
(type_item name: (type_identifier) @name) @class
; Blocks of a type are further places of that type.
(impl_item
  type: [
    (type_identifier) @name
    (primitive_type) @name
    (tuple_type) @name
    (array_type) @name
    (unit_type) @name
    (metavariable) @name
    (generic_type type: (type_identifier) @name)
    (scoped_type_identifier name: (type_identifier) @name)
    (generic_type type: (scoped_type_identifier name: (type_identifier) @name))
    (dynamic_type trait: (type_identifier) @name)
    (reference_type type: (type_identifier) @name)
    (reference_type type: (primitive_type) @name)
    (reference_type type: (array_type) @name)
    (reference_type type: (generic_type type: (type_identifier) @name))
    (reference_type type: (scoped_type_identifier name: (type_identifier) @name))
    (reference_type type: (dynamic_type trait: (type_identifier) @name))
  ]
  body: (declaration_list) @body) @class

(function_item name: (identifier) @name body: (block) @body) @function
(function_signature_item name: (identifier) @name) @function
(macro_definition name: (identifier) @name @open) @function

(const_item name: (identifier) @name) @variable
(static_item name: (identifier) @name) @variable

(mod_item name: (identifier) @name body: (declaration_list)) @scope

(use_declaration) @import
(extern_crate_declaration) @import
(attribute_item) @attribute
(line_comment) @comment
(block_comment) @comment
(source_file . (line_comment (inner_doc_comment_marker)) @module_doc)
