(struct_item name: (type_identifier) @name body: (field_declaration_list)? @body) @class
(enum_item name: (type_identifier) @name body: (enum_variant_list) @body) @class
(union_item name: (type_identifier) @name body: (field_declaration_list) @body) @class
(trait_item name: (type_identifier) @name body: (declaration_list) @body) @class
(type_item name: (type_identifier) @name) @class
; Blocks of a type are further places of that type.
(impl_item type: (_) @name body: (declaration_list) @body) @class

(function_item name: (identifier) @name body: (block) @body) @function
(function_signature_item name: (identifier) @name) @function
(macro_definition name: (identifier) @name) @function

(const_item name: (identifier) @name) @variable
(static_item name: (identifier) @name) @variable

(mod_item name: (identifier) @name body: (declaration_list)) @scope

(use_declaration) @import
(extern_crate_declaration) @import
(attribute_item) @attribute
(line_comment) @comment
(block_comment) @comment
(source_file . (line_comment (inner_doc_comment_marker)) @module_doc)
