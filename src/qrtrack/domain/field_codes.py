"""The catalogue of what can be wrong with one field: stable codes with their params, which a front end translates."""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final, NamedTuple


class FieldCode(StrEnum):
    INVALID = "invalid"
    REQUIRED = "required"
    UNKNOWN_FIELD = "unknown_field"
    UNKNOWN_FIELDS = "unknown_fields"
    WRONG_TYPE = "wrong_type"
    NOT_ALLOWED_VALUE = "not_allowed_value"
    TOO_SHORT = "too_short"
    TOO_LONG = "too_long"
    TOO_SMALL = "too_small"
    TOO_LARGE = "too_large"
    TOO_FEW = "too_few"
    TOO_MANY = "too_many"
    OUT_OF_RANGE = "out_of_range"
    EXACTLY_ONE_OF = "exactly_one_of"
    AT_MOST_ONE_OF = "at_most_one_of"
    AT_LEAST_ONE_OF = "at_least_one_of"
    REPEATED = "repeated"
    REPEATED_KEY = "repeated_key"
    NOT_UNICODE = "not_unicode"
    CONTROL_CHARACTERS = "control_characters"
    NOT_PRINTABLE_ASCII = "not_printable_ascii"
    BAD_TEXT = "bad_text"
    BAD_DATE = "bad_date"
    BAD_INSTANT = "bad_instant"
    BAD_CURSOR = "bad_cursor"
    BAD_PREFIX = "bad_prefix"
    BAD_LOT = "bad_lot"
    BAD_GTIN = "bad_gtin"
    BAD_COMPANY_PREFIX = "bad_company_prefix"
    BAD_EMAIL = "bad_email"
    BAD_HTTPS_ADDRESS = "bad_https_address"
    EMAIL_NOT_SET_UP = "email_not_set_up"
    HOST_NOT_ALLOWED = "host_not_allowed"
    NOT_A_CODE = "not_a_code"
    BATCH_QR = "batch_qr"
    NOT_A_UNIT_QR = "not_a_unit_qr"
    RANGE_OF_TWO_PREFIXES = "range_of_two_prefixes"
    RANGE_BACKWARDS = "range_backwards"
    RANGE_TOO_LONG = "range_too_long"
    NOT_IN_BATCH = "not_in_batch"
    OF_OTHER_BATCH = "of_other_batch"
    OF_OTHER_ORDER = "of_other_order"
    UNKNOWN_VARIANT = "unknown_variant"
    SCANNED_AND_MISSING = "scanned_and_missing"
    SAME_CASE = "same_case"
    OUTSIDE_CASE = "outside_case"
    NUMBERS_USED_UP = "numbers_used_up"
    NOT_A_CSV_FILE = "not_a_csv_file"
    NOT_UTF8 = "not_utf8"
    NOT_CSV = "not_csv"
    BAD_HEADER = "bad_header"
    TOO_MANY_CELLS = "too_many_cells"
    BAD_CODE_CELL = "bad_code_cell"
    BAD_ROOT_KEY_CELL = "bad_root_key_cell"
    BAD_VARIANT_CELL = "bad_variant_cell"
    REPEATED_CELL = "repeated_cell"
    CODE_EXISTS = "code_exists"
    VARIANT_MISSING = "variant_missing"
    BAD_ACCOUNT = "bad_account"
    BAD_AMOUNT = "bad_amount"
    BAD_REFERENCE = "bad_reference"
    REFERENCE_SENT = "reference_sent"
    BAD_FORMAT_NAME = "bad_format_name"
    UNKNOWN_FORMAT = "unknown_format"
    PRESET_NAME = "preset_name"
    NOT_A_ROLL = "not_a_roll"
    LABELS_OVERLAP = "labels_overlap"
    OUTSIDE_PAGE = "outside_page"
    LABEL_TOO_SMALL = "label_too_small"
    UNKNOWN_CASE = "unknown_case"
    BAD_PRINTER_ADDRESS = "bad_printer_address"
    UNKNOWN_HOST = "unknown_host"
    OUTSIDE_NETWORKS = "outside_networks"
    OTHER_FORMAT = "other_format"


class Meaning(NamedTuple):
    """What a code says, and the names of its params; an entry of `errors` has exactly these."""

    sentence: str
    params: tuple[str, ...] = ()


MEANINGS: Final[Mapping[FieldCode, Meaning]] = MappingProxyType(
    {
        FieldCode.INVALID: Meaning("The value is wrong in a way that has no code of its own: show `detail`."),
        FieldCode.REQUIRED: Meaning("The field is missing or empty."),
        FieldCode.UNKNOWN_FIELD: Meaning("The request has no field of this name."),
        FieldCode.UNKNOWN_FIELDS: Meaning("`count` more fields do not exist.", ("count",)),
        FieldCode.WRONG_TYPE: Meaning("The value is not of the type `expected`.", ("expected",)),
        FieldCode.NOT_ALLOWED_VALUE: Meaning("The value must be one of `allowed`.", ("allowed",)),
        FieldCode.TOO_SHORT: Meaning("The text has fewer than `min` characters.", ("min",)),
        FieldCode.TOO_LONG: Meaning("The text has more than `max` characters.", ("max",)),
        FieldCode.TOO_SMALL: Meaning("The number is below `min`.", ("min",)),
        FieldCode.TOO_LARGE: Meaning("The number is above `max`.", ("max",)),
        FieldCode.TOO_FEW: Meaning("The list has fewer than `min` entries.", ("min",)),
        FieldCode.TOO_MANY: Meaning("There are more than `max`, or would be.", ("max",)),
        FieldCode.OUT_OF_RANGE: Meaning("The number is not between `min` and `max`.", ("min", "max")),
        FieldCode.EXACTLY_ONE_OF: Meaning("Exactly one of `fields` is needed.", ("fields",)),
        FieldCode.AT_MOST_ONE_OF: Meaning("`fields` exclude each other.", ("fields",)),
        FieldCode.AT_LEAST_ONE_OF: Meaning("At least one of `fields` is needed.", ("fields",)),
        FieldCode.REPEATED: Meaning("The value appears twice. It may appear only once."),
        FieldCode.REPEATED_KEY: Meaning("One JSON object contains the key twice."),
        FieldCode.NOT_UNICODE: Meaning("The text is not Unicode."),
        FieldCode.CONTROL_CHARACTERS: Meaning("The text has control characters, or line breaks in a one-line field."),
        FieldCode.NOT_PRINTABLE_ASCII: Meaning("The text has characters other than printable ASCII."),
        FieldCode.BAD_TEXT: Meaning("This is not text of at most `max` printable characters.", ("max",)),
        FieldCode.BAD_DATE: Meaning("This is not a date written as YYYY-MM-DD."),
        FieldCode.BAD_INSTANT: Meaning("This is not a time with its offset, such as 2031-01-31T08:00:00+07:00."),
        FieldCode.BAD_CURSOR: Meaning("The cursor is not one of this list: begin without a cursor."),
        FieldCode.BAD_PREFIX: Meaning("The prefix is not 1 to 8 of A-Z and 0-9, the last a letter."),
        FieldCode.BAD_LOT: Meaning("The lot is not 1 to 20 letters, digits and signs of the GS1 set."),
        FieldCode.BAD_GTIN: Meaning("This is not a GTIN of 8, 12, 13 or 14 digits with its check digit."),
        FieldCode.BAD_COMPANY_PREFIX: Meaning("This is not a GS1 company prefix of 4 to 12 digits."),
        FieldCode.BAD_EMAIL: Meaning("This is not one plain e-mail address."),
        FieldCode.BAD_HTTPS_ADDRESS: Meaning("This is not an https address."),
        FieldCode.EMAIL_NOT_SET_UP: Meaning("The service cannot send e-mail: SMTP_URL is not set."),
        FieldCode.HOST_NOT_ALLOWED: Meaning("NOTIFY_ALLOWED_HOSTS does not name the host and port of the address."),
        FieldCode.NOT_A_CODE: Meaning("`value` cannot be a code.", ("value",)),
        FieldCode.BATCH_QR: Meaning("`value` is the QR of the whole batch, not of a unit.", ("value",)),
        FieldCode.NOT_A_UNIT_QR: Meaning("`value` is not the QR of a unit.", ("value",)),
        FieldCode.RANGE_OF_TWO_PREFIXES: Meaning("The ends of the range `value` have different prefixes.", ("value",)),
        FieldCode.RANGE_BACKWARDS: Meaning("The range `value` begins with its higher code.", ("value",)),
        FieldCode.RANGE_TOO_LONG: Meaning("The range `value` names more than `max` codes.", ("value", "max")),
        FieldCode.NOT_IN_BATCH: Meaning("`value` is not a code of this batch.", ("value",)),
        FieldCode.OF_OTHER_BATCH: Meaning("The QR of `value` names another batch.", ("value",)),
        FieldCode.OF_OTHER_ORDER: Meaning("The batch belongs to another order."),
        FieldCode.UNKNOWN_VARIANT: Meaning("The batch has no variant `value`.", ("value",)),
        FieldCode.SCANNED_AND_MISSING: Meaning(
            "`value` was scanned as a unit of the box, and is listed as missing.", ("value",)
        ),
        FieldCode.SAME_CASE: Meaning("Both fields name the same case."),
        FieldCode.OUTSIDE_CASE: Meaning(
            "A missing unit does not lie between `first_code` and `last_code`.", ("first_code", "last_code")
        ),
        FieldCode.NUMBERS_USED_UP: Meaning("The prefix has only `left` numbers left.", ("left",)),
        FieldCode.NOT_A_CSV_FILE: Meaning("The file is not CSV but a workbook or another kind of file."),
        FieldCode.NOT_UTF8: Meaning("The file is not UTF-8 text."),
        FieldCode.NOT_CSV: Meaning("Line `line` is not CSV.", ("line",)),
        FieldCode.BAD_HEADER: Meaning(
            "The first line lacks the column code, names an unknown column, or names a column twice."
        ),
        FieldCode.TOO_MANY_CELLS: Meaning(
            "Line `line` has a cell in a column that the header does not name.", ("line",)
        ),
        FieldCode.BAD_CODE_CELL: Meaning("The column code of line `line` contains no valid code.", ("line",)),
        FieldCode.BAD_ROOT_KEY_CELL: Meaning(
            "The column root_key of line `line` contains no valid root key.", ("line",)
        ),
        FieldCode.BAD_VARIANT_CELL: Meaning("The variant of line `line` is too long or not printable.", ("line",)),
        FieldCode.REPEATED_CELL: Meaning(
            "Line `line` repeats the code or root key of line `first_line`.", ("line", "first_line")
        ),
        FieldCode.CODE_EXISTS: Meaning(
            "Line `line` has the code `value`, which exists already or is reserved for a batch.", ("line", "value")
        ),
        FieldCode.VARIANT_MISSING: Meaning("Some rows have a variant and others have none."),
        FieldCode.BAD_ACCOUNT: Meaning("The account is not text of 5 to 34 digits."),
        FieldCode.BAD_AMOUNT: Meaning(
            "The amount is not a positive number in digits, with at most `max_decimals` after the point.",
            ("max_decimals",),
        ),
        FieldCode.BAD_REFERENCE: Meaning(
            "The reference is not 1 to 15 printable ASCII characters without blanks around it."
        ),
        FieldCode.BAD_FORMAT_NAME: Meaning("The name is not 1 to 40 of a-z, 0-9 and hyphens, the first no hyphen."),
        FieldCode.UNKNOWN_FORMAT: Meaning("The organisation has no label format `value`.", ("value",)),
        FieldCode.PRESET_NAME: Meaning("`value` is the name of a preset, which cannot be changed.", ("value",)),
        FieldCode.NOT_A_ROLL: Meaning("ZPL is for rolls, and `value` is a sheet.", ("value",)),
        FieldCode.LABELS_OVERLAP: Meaning("A pitch is smaller than the width or height of a label."),
        FieldCode.OUTSIDE_PAGE: Meaning(
            "The last label ends outside of the page, at `right` x `bottom` mm.", ("right", "bottom")
        ),
        FieldCode.LABEL_TOO_SMALL: Meaning(
            "The label is too small for its symbol and text. Take one of `presets`, if there are any, or at least "
            "`width` x `height` mm.",
            ("width", "height", "presets"),
        ),
        FieldCode.UNKNOWN_CASE: Meaning("The batch has no case number `value`.", ("value",)),
        FieldCode.BAD_PRINTER_ADDRESS: Meaning("This is not `host:port` with a port from 9100 to 9109."),
        FieldCode.UNKNOWN_HOST: Meaning("The name `value` has no IP address.", ("value",)),
        FieldCode.OUTSIDE_NETWORKS: Meaning("PRINTER_NETWORKS does not permit the address `value`.", ("value",)),
        FieldCode.OTHER_FORMAT: Meaning(
            "The label job's file is `value`, and the printer takes `expected`.", ("value", "expected")
        ),
        FieldCode.REFERENCE_SENT: Meaning(
            "The attempt `log_id` of settlement `kd_settle` has sent this reference.", ("log_id", "kd_settle")
        ),
    }
)
