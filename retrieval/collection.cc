#include "retrieval/collection.h"

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "retrieval/collection_impl.h"
#include "retrieval/document_loader.h"

namespace blazon::retrieval {
namespace {

// A document row and its chunks and the manifest change in one transaction or not at all. Chunk ids are
// never used again.
constexpr const char* kSchema[] = {
    "PRAGMA application_id = 1112300110",  // kApplicationId
    "CREATE TABLE manifest (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
    "CREATE TABLE segments (number INTEGER PRIMARY KEY, vectors INTEGER NOT NULL, checksum BLOB NOT NULL, words BLOB "
    "NOT NULL)",  // words: the checksum of the word index
    "CREATE TABLE tombstones (segment INTEGER NOT NULL, chunk INTEGER NOT NULL, PRIMARY KEY (segment, chunk)) WITHOUT "
    "ROWID",
    "CREATE TABLE documents (key INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, source TEXT NOT NULL, "
    "path TEXT NOT NULL, "
    "title TEXT NOT NULL, parser TEXT NOT NULL, encoding TEXT NOT NULL, digest TEXT NOT NULL, chunker TEXT NOT NULL, "
    "chunks INTEGER NOT NULL, bytes INTEGER NOT NULL, language TEXT NOT NULL DEFAULT '', text TEXT NOT NULL, UNIQUE "
    "(source, path))",
    "CREATE TABLE document_metadata (document INTEGER NOT NULL, name TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY "
    "(document, name)) WITHOUT ROWID",
    "CREATE INDEX metadata_by_value ON document_metadata (name, value)",  // only for speed: not needed to read
    "CREATE TABLE chunks (id INTEGER PRIMARY KEY AUTOINCREMENT, document INTEGER NOT NULL, span_begin INTEGER NOT "
    "NULL, "
    "span_end INTEGER NOT NULL, line INTEGER NOT NULL, segment INTEGER NOT NULL, place TEXT NOT NULL DEFAULT '', box "
    "TEXT NOT NULL DEFAULT '', prefix TEXT NOT NULL, headings TEXT NOT NULL DEFAULT '')",
    "CREATE INDEX chunks_by_document ON chunks (document)",
    "CREATE INDEX chunks_by_segment ON chunks (segment)",
};

}  // namespace

absl::Status ReadOnly() {
  return absl::FailedPreconditionError("the collection is open for reading; open it for writing to change it");
}

absl::Status CreateSchema(Database& database) {
  for (const char* statement : kSchema) {
    if (absl::Status status = database.Run(statement); !status.ok()) return status;
  }
  absl::Status status = SetManifest(database, "format", absl::StrCat(kFormat));
  return status.ok() ? SetManifest(database, "generation", "0") : status;
}

absl::Status SetManifest(Database& database, std::string_view key, std::string_view value) {
  return database.Run(
      "INSERT INTO manifest (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value", key,
      value);
}

absl::Status MissingIsLost(const absl::Status& status, const std::filesystem::path& folder) {
  if (!absl::IsNotFound(status)) return status;
  return absl::DataLossError(absl::StrCat(status.message(), RepairRemedy(folder)));
}

absl::StatusOr<std::string> ManifestValue(Database& database, std::string_view key) {
  Rows rows = database.Query("SELECT value FROM manifest WHERE key = ?", key);
  const std::string value = rows.Next() ? rows.Text(0) : "";
  if (!rows.status().ok()) return rows.status();
  return value;
}

absl::StatusOr<int64_t> DimensionOf(Database& database) {
  absl::StatusOr<std::string> text = ManifestValue(database, "dimension");
  if (!text.ok()) return text.status();
  int64_t dimension = 0;
  (void)absl::SimpleAtoi(*text, &dimension);  // not there before the first vectors are
  return dimension;
}

std::string DocumentId(const std::string& source, const std::string& path) {
  return ContentDigest(source + '\0' + path).substr(0, 32);
}

std::optional<LockHolder> FindWriter(const std::filesystem::path& folder) { return LockFile::Find(folder / "lock"); }

// --- the public class ---

Collection::Collection(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Collection::~Collection() = default;

absl::StatusOr<std::unique_ptr<Collection>> Collection::Open(const std::filesystem::path& folder,
                                                             CollectionOptions options) {
  absl::StatusOr<std::unique_ptr<Impl>> impl = Impl::Open(folder, std::move(options));
  if (!impl.ok()) return impl.status();
  return std::unique_ptr<Collection>(new Collection(std::move(*impl)));
}
absl::StatusOr<std::vector<PutOutcome>> Collection::Put(absl::Span<const Document> documents) {
  return impl_->Put(documents);
}
absl::Status Collection::Check(const Document& document) const { return impl_->Check(document); }
absl::StatusOr<int64_t> Collection::Delete(absl::Span<const std::string> document_ids) {
  return impl_->Delete(document_ids);
}
absl::Status Collection::SetSetting(const std::string& name, const std::string& value) {
  return impl_->SetSetting(name, value);
}
absl::StatusOr<std::string> Collection::Setting(const std::string& name) const { return impl_->Setting(name); }
absl::Status Collection::BuildIndexes(const std::function<bool()>& stop) { return impl_->BuildIndexes(stop); }
absl::StatusOr<std::vector<ScoredChunk>> Collection::Search(const Query& query) const { return impl_->Search(query); }
absl::StatusOr<Document> Collection::Get(const std::string& document_id) const { return impl_->Get(document_id); }
absl::StatusOr<DocumentPage> Collection::List(int64_t page_size, const std::string& page_token,
                                              const Filter& filter) const {
  return impl_->List(page_size, page_token, filter);
}
absl::Status Collection::Export(const std::function<absl::Status(const ExportedTotals&)>& begin,
                                const std::function<absl::Status(const Document&)>& visit) const {
  return impl_->Export(begin, visit);
}
absl::StatusOr<bool> Collection::IsCurrent(const std::string& source, const std::string& path,
                                           const std::string& content_digest, const std::string& parser) const {
  return impl_->IsCurrent(source, path, content_digest, parser);
}
absl::StatusOr<CollectionStats> Collection::Stats() const { return impl_->Stats(); }
absl::Status Collection::Verify() const { return impl_->Verify(); }
const std::filesystem::path& Collection::folder() const { return impl_->folder(); }

}  // namespace blazon::retrieval
