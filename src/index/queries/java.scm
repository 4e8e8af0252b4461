(class_declaration name: (identifier) @name body: (class_body) @body) @class
(interface_declaration name: (identifier) @name body: (interface_body) @body) @class
(enum_declaration name: (identifier) @name body: (enum_body) @body) @class
(record_declaration name: (identifier) @name body: (class_body) @body) @class
(annotation_type_declaration name: (identifier) @name body: (annotation_type_body) @body) @class

(method_declaration name: (identifier) @name body: (block)? @body) @function
(constructor_declaration name: (identifier) @name body: (constructor_body) @body) @function
(compact_constructor_declaration name: (identifier) @name body: (block) @body) @function

(import_declaration) @import
(package_declaration) @import
(line_comment) @comment
(block_comment) @comment
(lambda_expression) @local
(marker_annotation) @attribute
(annotation) @attribute
(annotation_type_element_declaration name: (identifier) @name) @function
; Methods of anonymous classes are the field's.
(field_declaration) @opaque
; So are those in arguments of a constant; those in its body are the enumeration's.
(argument_list) @opaque
