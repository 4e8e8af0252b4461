; Besides those of ecmascript.scm.
(class_declaration name: (type_identifier) @name body: (class_body) @body) @class
(public_field_definition
  name: (_) @name
  value: [
    (arrow_function body: (_) @body)
    (function_expression body: (_) @body)
  ]) @function

(abstract_class_declaration name: (type_identifier) @name body: (class_body) @body) @class
(interface_declaration name: (type_identifier) @name body: (interface_body) @body) @class
(enum_declaration name: (identifier) @name body: (enum_body) @body) @class
(type_alias_declaration name: (type_identifier) @name "=" @open) @class
(function_signature name: (identifier) @name) @function
(abstract_method_signature name: (_) @name) @function
(method_signature name: (_) @name) @function
(internal_module name: (_) @name) @scope
(module name: [(identifier) (nested_identifier)] @name) @scope

(import_alias) @import
