"""The names of everything that is tolerated from a peer: a device page can then say "this device does X".

A quirk never changes what a message means without saying so here. The names go into `Envelope.quirks`, sessions and stores: they are
never renamed.
"""

from enum import StrEnum


class Quirk(StrEnum):
    """One way in which a peer departs from the standard and is understood all the same; `doc` says which."""

    doc: str

    def __new__(cls, value: str, doc: str) -> "Quirk":
        member = str.__new__(cls, value)
        member._value_ = value
        member.doc = doc
        return member

    # bytes
    BYTE_ORDER_MARK = "byte-order-mark", "A byte order mark stands before a UTF-8 body."
    SPACE_BEFORE_PROLOG = "space-before-prolog", "White space stands before the XML prolog."
    TRAILING_NULS = "trailing-nuls", "NUL bytes stand after the envelope."
    OTHER_ENCODING = "other-encoding", "The body is neither UTF-8 nor US-ASCII, and says so."
    WRONG_ENCODING = (
        "wrong-encoding",
        "The body is not in the encoding that it claims; it was read as windows-1252 or ISO-8859-1.",
    )
    UNKNOWN_ENCODING = (
        "unknown-encoding",
        "The prolog names an encoding that Homeport does not know; the body was read as UTF-8.",
    )
    CONTROL_CHARACTERS = "control-characters", "Characters that XML forbids were taken out of the body."
    # XML
    COMMENT = "comment", "The envelope holds XML comments."
    CDATA = "cdata", "The envelope holds CDATA sections."
    PROCESSING_INSTRUCTION = "processing-instruction", "The envelope holds processing instructions."
    UNDECLARED_PREFIX = "undeclared-prefix", "A namespace prefix is used that is not declared."
    # SOAP
    ENVELOPE_NAMESPACE = "envelope-namespace", "The Envelope is not in the namespace of SOAP 1.1."
    OLD_SCHEMA_NAMESPACE = "old-schema-namespace", "xsi:type is in the namespace of 1999 or in none."
    QUALIFIED_ARGUMENT = "qualified-argument", "Arguments carry a namespace although the schema gives them none."
    BODY_MISSING_NAMESPACE = "body-missing-namespace", "The method element is in no namespace; cwmp-1-0 was taken."
    UNKNOWN_CWMP_NAMESPACE = (
        "unknown-cwmp-namespace",
        "The method element is in a namespace that no CWMP version defines.",
    )
    MIXED_CWMP_NAMESPACES = (
        "mixed-cwmp-namespaces",
        "Header and body use different CWMP namespaces; the body's was taken.",
    )
    METHOD_NAME_CASE = (
        "method-name-case",
        "The method's name is spelled in another case than the one that was expected.",
    )
    NO_MORE_REQUESTS = "no-more-requests", "The header NoMoreRequests of 2004 is used; it has no effect."
    UNKNOWN_HEADER = "unknown-header", "A header element is unknown and was ignored."
    BAD_HEADER_VALUE = (
        "bad-header-value",
        "A header element that is only advice has a value that cannot be read; it was ignored.",
    )
    # arguments
    MISSING_ARRAY_TYPE = "missing-array-type", "A list has no arrayType, or an empty one."
    ZERO_PADDED_COUNT = "zero-padded-count", "An arrayType count has leading zeros."
    WRONG_COUNT = "wrong-count", "An arrayType count differs from the number of entries."
    ARRAY_ITEM_NAME = "array-item-name", "A list's entries have another element name than the schema's."
    WRAPPED_LIST = "wrapped-list", "A repeated element holds its entries as a list of structs."
    MISSING_ELEMENT = "missing-element", "An element that the schema demands is absent; its neutral value was taken."
    UNKNOWN_ELEMENT = "unknown-element", "Elements that the schema does not know were ignored."
    REPEATED_ELEMENT = "repeated-element", "An element that may stand once is repeated; the first was taken."
    ELEMENT_ORDER = "element-order", "Arguments stand in another order than the schema's."
    NO_EVENT = "no-event", "An Inform carries no event."
    MISSING_VALUE = "missing-value", "A parameter has a Name but no Value; it was read as empty."
    MISSING_TYPE = "missing-type", "A parameter's Value has no xsi:type; its text was taken as it is."
    UNKNOWN_TYPE = "unknown-type", "A parameter's xsi:type is empty or unknown; its text was taken as it is."
    TYPE_CASE = "type-case", "A parameter's xsi:type is spelled in another case."
    OLD_BASE64 = "old-base64", "A parameter is typed base64 where the schema says base64Binary."
    OBJECT_ROW = "object-row", "A parameter list holds an object's partial path as if it were a parameter."
    SPACE_AROUND_TEXT = "space-around-text", "White space around a name, number or truth value was taken off."
    ODD_BOOLEAN = "odd-boolean", "A truth value is spelled otherwise than 0, 1, true or false."
    EMPTY_NUMBER = "empty-number", "A number is empty; it was read as 0."
    NUMBER_FORM = "number-form", "A number has a plus sign or leading zeros."
    LOCAL_TIME = "local-time", "A dateTime has no time zone."
    # faults
    BARE_FAULT_DETAIL = (
        "bare-fault-detail",
        "The CWMP Fault stands in no CWMP namespace, or directly in the SOAP fault's detail.",
    )
    FAULT_CODE_FORM = "fault-code-form", "The SOAP faultcode is not Client or Server in the envelope's namespace."
    FAULT_CODE_SIDE = "fault-code-side", "The SOAP faultcode is neither Client nor Server; Server was taken."
