"""The catalogue of what can be wrong with one field: stable codes with their params, which a front end translates."""

from enum import StrEnum
from typing import Self


class FieldCode(StrEnum):
    # Each member is written as its code, the sentence that says what is wrong, and the names of its params. An entry of
    # `errors` has exactly these params.
    sentence: str
    params: tuple[str, ...]

    def __new__(cls, code: str, sentence: str = "", *params: str) -> Self:
        member = str.__new__(cls, code)
        member._value_ = code
        member.sentence, member.params = sentence, params
        return member

    INVALID = "invalid", "The value is wrong in a way that has no code of its own: show `detail`."
    REQUIRED = "required", "The field is missing, or is empty although it must name something."
    UNKNOWN_FIELD = "unknown_field", "The request has no field of this name."
    UNKNOWN_FIELDS = "unknown_fields", "`count` more fields do not exist.", "count"
    WRONG_TYPE = "wrong_type", "The value is not of the type `expected`.", "expected"
    NOT_ALLOWED_VALUE = "not_allowed_value", "The value must be one of `allowed`.", "allowed"
    TOO_SHORT = "too_short", "The text has fewer than `min` characters.", "min"
    TOO_LONG = "too_long", "The text has more than `max` characters.", "max"
    TOO_SMALL = "too_small", "The number is below `min`.", "min"
    TOO_LARGE = "too_large", "The number is above `max`.", "max"
    TOO_FEW = "too_few", "The list has fewer than `min` entries.", "min"
    TOO_MANY = "too_many", "There are more than `max`, or would be.", "max"
    OUT_OF_RANGE = "out_of_range", "The number is not between `min` and `max`.", "min", "max"
    EXACTLY_ONE_OF = "exactly_one_of", "Exactly one of `fields` is needed.", "fields"
    AT_MOST_ONE_OF = "at_most_one_of", "`fields` exclude each other.", "fields"
    AT_LEAST_ONE_OF = "at_least_one_of", "At least one of `fields` is needed.", "fields"
    REPEATED = "repeated", "The value appears twice. It may appear only once."
    REPEATED_KEY = "repeated_key", "One JSON object contains the key twice."
    NOT_UNICODE = "not_unicode", "The text is not Unicode."
    CONTROL_CHARACTERS = "control_characters", "The text has control characters, or line breaks in a one-line field."
    NOT_PRINTABLE_ASCII = "not_printable_ascii", "The text has characters other than printable ASCII."
    BAD_TEXT = "bad_text", "This is not text of at most `max` printable characters.", "max"
    BAD_DATE = "bad_date", "This is not a date written as YYYY-MM-DD."
    BAD_INSTANT = "bad_instant", "This is not a time with its offset, such as 2031-01-31T08:00:00+07:00."
    BAD_CURSOR = "bad_cursor", "The cursor is not one of this list: begin without a cursor."
    BAD_PREFIX = "bad_prefix", "The prefix is not 1 to 8 of A-Z and 0-9, the last a letter."
    BAD_LOT = "bad_lot", "The lot is not 1 to 20 letters, digits and signs of the GS1 set."
    BAD_GTIN = "bad_gtin", "This is not a GTIN of 8, 12, 13 or 14 digits with its check digit."
    BAD_COMPANY_PREFIX = "bad_company_prefix", "This is not a GS1 company prefix of 4 to 12 digits."
    BAD_EMAIL = "bad_email", "This is not one plain e-mail address."
    BAD_HTTPS_ADDRESS = "bad_https_address", "This is not an https address."
    EMAIL_NOT_SET_UP = "email_not_set_up", "The service cannot send e-mail: SMTP_URL is not set."
    HOST_NOT_ALLOWED = "host_not_allowed", "NOTIFY_ALLOWED_HOSTS does not name the host and port of the address."
    NOT_A_CODE = "not_a_code", "`value` cannot be a code.", "value"
    BATCH_QR = "batch_qr", "`value` is the QR of the whole batch, not of a unit.", "value"
    NOT_A_UNIT_QR = "not_a_unit_qr", "`value` is not the QR of a unit.", "value"
    RANGE_OF_TWO_PREFIXES = "range_of_two_prefixes", "The ends of the range `value` have different prefixes.", "value"
    RANGE_BACKWARDS = "range_backwards", "The range `value` begins with its higher code.", "value"
    RANGE_TOO_LONG = "range_too_long", "The range `value` names more than `max` codes.", "value", "max"
    NOT_IN_BATCH = "not_in_batch", "`value` is not a code of this batch; in a recall: of your organisation.", "value"
    OF_OTHER_BATCH = "of_other_batch", "The QR of `value` names another batch.", "value"
    OF_OTHER_ORDER = "of_other_order", "The batch belongs to another order."
    UNKNOWN_VARIANT = "unknown_variant", "The batch has no variant `value`.", "value"
    SCANNED_AND_MISSING = (
        "scanned_and_missing",
        "`value` was scanned as a unit of the box, and is listed as missing.",
        "value",
    )
    SAME_CASE = "same_case", "Both fields name the same case."
    OUTSIDE_CASE = (
        "outside_case",
        "A missing unit does not lie between `first_code` and `last_code`.",
        "first_code",
        "last_code",
    )
    NUMBERS_USED_UP = "numbers_used_up", "The prefix has only `left` numbers left.", "left"
    NOT_A_CSV_FILE = "not_a_csv_file", "The file is not CSV but a workbook or another kind of file."
    NOT_UTF8 = "not_utf8", "The file is not UTF-8 text."
    NOT_CSV = "not_csv", "Line `line` is not CSV.", "line"
    BAD_HEADER = "bad_header", "The first line lacks the column code, names an unknown column, or names a column twice."
    TOO_MANY_CELLS = "too_many_cells", "Line `line` has a cell in a column that the header does not name.", "line"
    BAD_CODE_CELL = "bad_code_cell", "The column code of line `line` contains no valid code.", "line"
    BAD_ROOT_KEY_CELL = "bad_root_key_cell", "The column root_key of line `line` contains no valid root key.", "line"
    BAD_VARIANT_CELL = "bad_variant_cell", "The variant of line `line` is too long or not printable.", "line"
    REPEATED_CELL = (
        "repeated_cell",
        "Line `line` repeats the code or root key of line `first_line`.",
        "line",
        "first_line",
    )
    CODE_EXISTS = (
        "code_exists",
        "Line `line` has the code `value`, which exists already or is reserved for a batch.",
        "line",
        "value",
    )
    VARIANT_MISSING = "variant_missing", "Some rows have a variant and others have none."
    BAD_ACCOUNT = "bad_account", "The account is not text of 5 to 34 digits."
    BAD_AMOUNT = (
        "bad_amount",
        "The amount is not a positive number in digits, with at most `max_decimals` after the point.",
        "max_decimals",
    )
    BAD_REFERENCE = "bad_reference", "The reference is not 1 to 15 printable ASCII characters without blanks around it."
    REFERENCE_SENT = (
        "reference_sent",
        "The attempt `log_id` of settlement `kd_settle` has sent this reference.",
        "log_id",
        "kd_settle",
    )
    BAD_FORMAT_NAME = "bad_format_name", "The name is not 1 to 40 of a-z, 0-9 and hyphens, the first no hyphen."
    UNKNOWN_FORMAT = "unknown_format", "The organisation has no label format `value`.", "value"
    PRESET_NAME = "preset_name", "`value` is the name of a preset, which cannot be changed.", "value"
    NOT_A_ROLL = "not_a_roll", "ZPL is for rolls, and `value` is a sheet.", "value"
    LABELS_OVERLAP = "labels_overlap", "A pitch is smaller than the width or height of a label."
    OUTSIDE_PAGE = (
        "outside_page",
        "The last label ends outside of the page, at `right` x `bottom` mm.",
        "right",
        "bottom",
    )
    LABEL_TOO_SMALL = (
        "label_too_small",
        (
            "The label is too small for its symbol and text. Take one of `presets`, if there are any, or at least "
            "`width` x `height` mm."
        ),
        "width",
        "height",
        "presets",
    )
    UNKNOWN_CASE = "unknown_case", "The batch has no case number `value`.", "value"
    BAD_PRINTER_ADDRESS = "bad_printer_address", "This is not `host:port` with a port from 9100 to 9109."
    UNKNOWN_HOST = "unknown_host", "The name `value` has no IP address.", "value"
    OUTSIDE_NETWORKS = "outside_networks", "PRINTER_NETWORKS does not permit the address `value`.", "value"
    OTHER_FORMAT = (
        "other_format",
        "The label job's file is `value`, and the printer takes `expected`.",
        "value",
        "expected",
    )
