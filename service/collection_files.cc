#include "service/collection_files.h"

#include <algorithm>
#include <fstream>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "service/checkpoint/durable_file.h"
#include "service/checkpoint/json_file.h"
#include "service/checkpoint/text_file.h"
#include "service/document_line.h"
#include "service/vector_file.h"

namespace blazon::service {
namespace {

namespace fs = std::filesystem;
using nlohmann::ordered_json;

constexpr char kDocumentsFile[] = "documents.jsonl";
constexpr char kVectorsFile[] = "vectors.npy";
constexpr char kDescriptionFile[] = "collection.json";
constexpr int kFormat = 1;
constexpr char kBlanks[] = " \t\r";
constexpr size_t kMaxLineBytes = 512u << 20;      // a text of 32 MiB, escaped, and its chunks
constexpr size_t kCommitBytes = 64u << 10;        // of text that is embedded, as when files are added
constexpr size_t kCommitVectorBytes = 16u << 20;  // of text and vectors where nothing is embedded

// ---- Lines of a file, of bounded length.

class Lines {
 public:
  explicit Lines(const fs::path& path) : path_(path), file_(path, std::ios::binary), buffer_(64u << 10, '\0') {}

  // False at the end, and when the file cannot be read: status tells.
  bool Next(std::string& line) {
    line.clear();
    ++number_;
    while (true) {
      if (at_ == filled_) {
        file_.read(buffer_.data(), static_cast<std::streamsize>(buffer_.size()));
        filled_ = static_cast<size_t>(file_.gcount());
        at_ = 0;
        if (filled_ == 0) return line.find_first_not_of(kBlanks) != std::string::npos;
      }
      const size_t end = std::min(buffer_.find('\n', at_), filled_);
      line.append(buffer_, at_, end - at_);
      if (line.size() > kMaxLineBytes) {
        too_long_ = true;
        return false;
      }
      at_ = std::min(end + 1, filled_);
      if (end == filled_) continue;
      if (line.find_first_not_of(kBlanks) != std::string::npos) return true;
      line.clear();
      ++number_;
    }
  }
  int64_t number() const { return number_; }  // of the last line, from 1
  absl::Status status() const {
    if (too_long_) return At(absl::InvalidArgumentError(absl::StrCat("it has more than ", kMaxLineBytes, " bytes")));
    if (file_.bad() || !file_.is_open()) return absl::NotFoundError(absl::StrCat("cannot read ", path_.string()));
    return absl::OkStatus();
  }
  absl::Status At(const absl::Status& status) const {
    return absl::Status(status.code(), absl::StrCat(path_.string(), ":", number_, ": ", status.message()));
  }

 private:
  const fs::path path_;
  std::ifstream file_;
  std::string buffer_;
  size_t at_ = 0, filled_ = 0;
  int64_t number_ = 0;
  bool too_long_ = false;
};

// ---- Importing.

// A document's id, 32 hexadecimal digits, in a tenth of the memory.
std::pair<uint64_t, uint64_t> IdBits(const std::string& id) {
  std::pair<uint64_t, uint64_t> bits;
  (void)absl::SimpleHexAtoi(absl::string_view(id).substr(0, 16), &bits.first);
  (void)absl::SimpleHexAtoi(absl::string_view(id).substr(16), &bits.second);
  return bits;
}

// Null where none are to be taken.
absl::StatusOr<std::unique_ptr<VectorFile>> OpenVectors(const ImportOptions& options) {
  if (options.vectors.empty() || options.without_vectors) return nullptr;
  return VectorFile::Open(options.vectors);
}

class Importer {
 public:
  Importer(retrieval::Collection& collection, const ImportOptions& options, int64_t documents)
      : collection_(collection), options_(options), total_(documents) {}

  absl::StatusOr<ImportReport> Run() {
    absl::StatusOr<std::unique_ptr<VectorFile>> vectors = OpenVectors(options_);
    if (!vectors.ok()) return vectors.status();
    vectors_ = *std::move(vectors);
    Lines lines(options_.documents);
    std::string text;
    while (!report_.stopped && lines.Next(text)) {
      absl::StatusOr<retrieval::Document> document = ParseLine(text);
      if (!document.ok()) return lines.At(document.status());
      if (absl::Status status = TakeVectors(*document); !status.ok()) return lines.At(status);
      // What waits comes first: the document is compared with what the collection has then.
      if (!group_.empty() && EmbedderOf(group_.back()) != EmbedderOf(*document)) {
        if (absl::Status status = Commit(); !status.ok()) return status;
      }
      if (absl::Status status = collection_.Check(*document); !status.ok()) {
        if (absl::Status committed = Commit(); !committed.ok()) return committed;
        return lines.At(status);
      }
      group_bytes_ += document->text.size();
      if (document->given) group_bytes_ += document->given->vectors.size() * sizeof(float);
      group_.push_back(*std::move(document));
      const size_t limit = EmbedderOf(group_.back()).empty() ? kCommitBytes : kCommitVectorBytes;
      if (group_bytes_ < limit) continue;
      if (absl::Status status = Commit(); !status.ok()) return status;
    }
    if (absl::Status status = lines.status(); !status.ok()) return status;
    if (absl::Status status = Commit(); !status.ok()) return status;
    return report_;
  }

 private:
  static std::string EmbedderOf(const retrieval::Document& document) {
    return document.given && !document.given->vectors.empty() ? document.given->embedder : "";
  }

  absl::Status TakeVectors(retrieval::Document& document) {
    if (!document.given) return absl::OkStatus();
    if (options_.without_vectors) document.given->vectors.clear();
    if (vectors_) {
      const auto rows = static_cast<int64_t>(document.given->chunks.size());
      if (rows > vectors_->left()) return absl::InvalidArgumentError("it has more chunks than there are vectors left");
      if (absl::Status status = vectors_->Append(rows, document.given->vectors); !status.ok()) return status;
    }
    if (!document.given->vectors.empty()) document.given->embedder = options_.embedder;
    return absl::OkStatus();
  }

  absl::Status Commit() {
    if (group_.empty()) return absl::OkStatus();
    const absl::StatusOr<std::vector<retrieval::PutOutcome>> outcomes = collection_.Put(group_);
    if (!outcomes.ok()) return outcomes.status();
    for (size_t i = 0; i < group_.size(); ++i) {
      ++((*outcomes)[i] == retrieval::PutOutcome::kAdded      ? report_.added
         : (*outcomes)[i] == retrieval::PutOutcome::kReplaced ? report_.replaced
                                                              : report_.unchanged);
      if (group_[i].given) report_.chunks += static_cast<int64_t>(group_[i].given->chunks.size());
    }
    done_ += static_cast<int64_t>(group_.size());
    group_.clear();
    group_bytes_ = 0;
    if (options_.progress && !options_.progress(done_, total_)) report_.stopped = true;
    return absl::OkStatus();
  }

  retrieval::Collection& collection_;
  const ImportOptions& options_;
  std::unique_ptr<VectorFile> vectors_;
  std::vector<retrieval::Document> group_;  // not yet committed
  size_t group_bytes_ = 0;
  const int64_t total_;
  int64_t done_ = 0;
  ImportReport report_;
};

}  // namespace

absl::StatusOr<retrieval::ExportedTotals> ExportCollection(const retrieval::Collection& collection,
                                                           const fs::path& folder) {
  std::error_code error;
  if (fs::exists(folder, error))
    return absl::AlreadyExistsError(absl::StrCat(folder.string(), " is there already; name a folder to be made"));
  fs::create_directories(folder, error);
  if (error) return absl::PermissionDeniedError(absl::StrCat("cannot make ", folder.string(), ": ", error.message()));
  retrieval::ExportedTotals totals;
  // One reading fills both files.
  absl::Status status = WriteDurably(folder / kDocumentsFile, [&](FileAppender& lines) {
    return WriteDurably(folder / kVectorsFile, [&](FileAppender& vectors) {
      return collection.Export(
          [&](const retrieval::ExportedTotals& all) {
            totals = all;
            const std::string header = VectorFileHeader(all.chunks, std::max<int64_t>(1, all.dimension));
            return vectors.Append(header.data(), header.size());
          },
          [&](const retrieval::Document& document) {
            const absl::StatusOr<std::string> line = ToLine(document);
            if (!line.ok()) return line.status();
            if (absl::Status written = lines.Append(line->data(), line->size()); !written.ok()) return written;
            return vectors.Append(document.given->vectors.data(), document.given->vectors.size() * sizeof(float));
          });
    });
  });
  const auto undo = [&folder](const absl::Status& why) {  // nothing of a half export stays
    std::error_code ignored;
    fs::remove_all(folder, ignored);
    return why;
  };
  if (!status.ok()) return undo(status);
  const ordered_json description = {{"format", kFormat},           {"documents", totals.documents},
                                    {"chunks", totals.chunks},     {"dimension", totals.dimension},
                                    {"embedder", totals.embedder}, {"index", retrieval::IndexKindName(totals.index)}};
  status = WriteTextFile(folder / kDescriptionFile, description.dump(2) + "\n");
  if (!status.ok()) return undo(status);
  return totals;
}

absl::StatusOr<ImportOptions> ExportedFiles(const fs::path& folder) {
  const absl::StatusOr<nlohmann::json> description = ReadJsonFile(folder / kDescriptionFile);
  if (!description.ok()) {
    return absl::InvalidArgumentError(absl::StrCat(folder.string(), " has no whole ", kDescriptionFile,
                                                   ", so it is not an export: ", description.status().message()));
  }
  const auto format = description->find("format");
  if (format == description->end() || *format != kFormat) {
    return absl::InvalidArgumentError(
        absl::StrCat((folder / kDescriptionFile).string(), " does not have format ", kFormat, ", which is read here"));
  }
  ImportOptions options;
  options.documents = folder / kDocumentsFile;
  options.vectors = folder / kVectorsFile;
  const auto embedder = description->find("embedder");
  if (embedder != description->end() && embedder->is_string()) options.embedder = embedder->get<std::string>();
  const auto index = description->find("index");
  if (index != description->end() && index->is_string()) {
    const std::optional<retrieval::IndexKind> kind = retrieval::ParseIndexKind(index->get<std::string>());
    if (!kind) {
      return absl::InvalidArgumentError(
          absl::StrCat((folder / kDescriptionFile).string(), ": index ", index->dump(), " is not a kind known here"));
    }
    options.index = *kind;
  }
  return options;
}

absl::StatusOr<int64_t> CheckImport(const ImportOptions& options) {
  const absl::StatusOr<std::unique_ptr<VectorFile>> vectors = OpenVectors(options);
  if (!vectors.ok()) return vectors.status();
  Lines lines(options.documents);
  std::string text;
  int64_t documents = 0, chunks = 0;
  absl::flat_hash_map<std::pair<uint64_t, uint64_t>, int64_t> seen;  // id -> line
  while (lines.Next(text)) {
    const absl::StatusOr<retrieval::Document> document = ParseLine(text);
    if (!document.ok()) return lines.At(document.status());
    ++documents;
    const auto [place, fresh] =
        seen.emplace(IdBits(retrieval::DocumentId(document->source, document->path)), lines.number());
    if (!fresh) {
      return lines.At(absl::InvalidArgumentError(
          absl::StrCat("document ", absl::CHexEscape(document->path), " stands in line ", place->second, " already")));
    }
    if (document->given) chunks += static_cast<int64_t>(document->given->chunks.size());
    if (*vectors && !document->given) {
      return lines.At(absl::InvalidArgumentError(
          absl::StrCat("it has no chunks, and ", options.vectors.string(), " has vectors for chunks that are given")));
    }
    if (*vectors && !document->given->vectors.empty())
      return lines.At(absl::InvalidArgumentError("it has vectors, and so has " + options.vectors.string()));
  }
  if (absl::Status status = lines.status(); !status.ok()) return status;
  if (*vectors && (*vectors)->rows() != chunks) {
    return absl::InvalidArgumentError(absl::StrCat(options.documents.string(), " has ", chunks, " chunks, and ",
                                                   options.vectors.string(), " ", (*vectors)->rows(),
                                                   " vectors; each chunk needs one"));
  }
  return documents;
}

absl::StatusOr<ImportReport> ImportCollection(retrieval::Collection& collection, const ImportOptions& options,
                                              int64_t documents) {
  return Importer(collection, options, documents).Run();
}

}  // namespace blazon::service
