"""What gateways say when they refuse: of a request that came before, and of one that was not taken."""

SEEN_BEFORE = (
    "Terjadi duplikasi referensi", "Transaksi sudah ada", "sudah pernah diproses", "Already exists",
    "requestId already exists", "Reference has been used", "has previously been processed",
    "Cannot use same X-EXTERNAL-ID in same day", "Double transaction", "Transaksi ganda", "sudah terbayar",
    "ERR_DUPLICATE_REF", "DuplicateTransaction", "transactionAlreadyExists", "Reference number exists",
    "Idempotency-Key reused", "Invalid X-EXTERNAL-ID", "Does not exist, or already processed",
    "Could not be processed: already paid", "The transaction cannot be processed again", "du\u200bplicate",
    "ｄｕｐｌｉｃａｔｅ", "DUPLICATE", "Error 94: refused", "rejected (rc 4091801)", "Reference must be unique",
    "Reference is not unique", "telah dibayar", "Nomor referensi yang sama", "Referensi telah digunakan",
    "submitted twice", "No Referensi exists", "Permintaan sedang diproses", "Payment in progress", "Data kembar",
)  # fmt: skip
NOT_TAKEN = (
    "Invalid account", "Saldo tidak cukup", "Rekening tidak ditemukan", "Account does not exist",
    "The account doesn't exist", "Request could not be processed", "The transaction was not processed",
    "Connection refused", "debitAccount is required", "Unauthorized", "Token expired", "Token sudah kedaluwarsa",
    "Too many requests", "Tidak dapat diproses", "Permintaan gagal diproses", "Data tidak ada", "Belum dibayar",
    "Debit and credit account must not be the same", "Rekening debit dan kredit tidak boleh sama", "unused field",
    "Amount exceeds limit", "Account 94 is closed", "Format tidak sesuai", "An error has occurred", "exit", "",
)  # fmt: skip
