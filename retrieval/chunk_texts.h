// Texts of chunks, read from the stored text of their documents without reading the rest of it into memory.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "retrieval/sqlite.h"

namespace blazon::retrieval {

// Texts asked for document by document cost least. Thread safety: as its database.
class ChunkTexts {
 public:
  explicit ChunkTexts(Database& database) : database_(database) {}
  ~ChunkTexts() { sqlite3_blob_close(blob_); }
  ChunkTexts(const ChunkTexts&) = delete;

  // Bytes [begin, end) of the text of the document with this key. kDataLoss: it has no such bytes.
  absl::StatusOr<std::string> Read(int64_t document, int64_t begin, int64_t end);

 private:
  Database& database_;
  sqlite3_blob* blob_ = nullptr;
  int64_t open_ = -1;  // the document that blob_ is of
};

}  // namespace blazon::retrieval
