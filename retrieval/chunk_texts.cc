#include "retrieval/chunk_texts.h"

#include "absl/strings/str_cat.h"

namespace blazon::retrieval {

absl::StatusOr<std::string> ChunkTexts::Read(int64_t document, int64_t begin, int64_t end) {
  if (open_ != document) {
    open_ = -1;
    const int code = blob_ ? sqlite3_blob_reopen(blob_, document)
                           : sqlite3_blob_open(database_.handle(), "main", "documents", "text", document, 0, &blob_);
    if (code != SQLITE_OK) {
      sqlite3_blob_close(blob_);
      blob_ = nullptr;
      return code == SQLITE_ERROR ? absl::DataLossError(absl::StrCat("document number ", document, " has no text"))
                                  : database_.Error(code, "read");
    }
    open_ = document;
  }
  if (begin < 0 || begin > end || end > sqlite3_blob_bytes(blob_)) {
    return absl::DataLossError(absl::StrCat("document number ", document, " has ", sqlite3_blob_bytes(blob_),
                                            " bytes of text, and a chunk of it ends at ", end));
  }
  std::string text(static_cast<size_t>(end - begin), '\0');
  const int code = sqlite3_blob_read(blob_, text.data(), static_cast<int>(text.size()), static_cast<int>(begin));
  if (code != SQLITE_OK) return database_.Error(code, "read");
  return text;
}

}  // namespace blazon::retrieval
