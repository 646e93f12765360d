// Reading what a collection holds: documents, their list, settings, figures.
#include <algorithm>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "retrieval/chunker.h"
#include "retrieval/collection_impl.h"

namespace blazon::retrieval {

Box ParseBox(const std::string& text) {
  const std::vector<std::string> numbers = absl::StrSplit(text, ' ');
  Box box;
  if (numbers.size() != 4 || !absl::SimpleAtod(numbers[0], &box.left) || !absl::SimpleAtod(numbers[1], &box.top) ||
      !absl::SimpleAtod(numbers[2], &box.width) || !absl::SimpleAtod(numbers[3], &box.height))
    return {};
  return box;
}

Document DocumentOfRow(const Rows& rows) {
  Document document;
  document.source = rows.Text(1);
  document.path = rows.Text(2);
  document.title = rows.Text(3);
  document.parser = rows.Text(4);
  document.encoding = rows.Text(5);
  document.content_digest = rows.Text(6);
  document.text = rows.Text(7);
  document.language = rows.Text(8);
  return document;
}

absl::StatusOr<Document> Collection::Impl::Get(const std::string& document_id) const {
  absl::StatusOr<std::unique_ptr<Reading>> reading = Reading::Start(*this, false);
  if (!reading.ok()) return reading.status();
  Database& database = (*reading)->database();
  Document document;
  int64_t key = 0;
  {
    Rows rows = database.Query(absl::StrCat("SELECT key, source, path, title, parser, encoding, digest, text, ",
                                            LanguageColumn(format_), " FROM documents WHERE id = ?"),
                               document_id);
    if (!rows.Next()) {
      return rows.status().ok()
                 ? absl::NotFoundError(absl::StrCat("there is no document ", absl::CHexEscape(document_id)))
                 : rows.status();
    }
    key = rows.Int(0);
    document = DocumentOfRow(rows);
  }
  Rows rows = database.Query("SELECT name, value FROM document_metadata WHERE document = ?", key);
  while (rows.Next()) document.metadata[rows.Text(0)] = rows.Text(1);
  if (!rows.status().ok()) return rows.status();
  return document;
}

absl::StatusOr<DocumentPage> Collection::Impl::List(int64_t page_size, const std::string& page_token,
                                                    const Filter& filter) const {
  if (page_size < 1 || page_size > 10000)
    return absl::InvalidArgumentError(absl::StrCat("page_size is ", page_size, "; it must be 1 to 10000"));
  std::pair<std::string, std::string> after;  // source, path of the last document seen
  if (!page_token.empty()) {
    std::string token;
    if (!absl::WebSafeBase64Unescape(page_token, &token) || token.find('\0') == std::string::npos) {
      return absl::InvalidArgumentError("page_token is not one that a list returned");
    }
    after = absl::StrSplit(token, absl::MaxSplits('\0', 1));
  }
  absl::StatusOr<std::unique_ptr<Reading>> reading = Reading::Start(*this, false);
  if (!reading.ok()) return reading.status();
  Database& database = (*reading)->database();
  std::shared_ptr<const Filtered> filtered;
  if (!filter.empty()) {
    absl::StatusOr<std::shared_ptr<const Filtered>> evaluated = Evaluate(database, filter);
    if (!evaluated.ok()) return evaluated.status();
    filtered = *std::move(evaluated);
  }
  DocumentPage page;
  std::vector<int64_t> keys;
  {
    Rows rows = database.Query(
        absl::StrCat("SELECT key, id, source, path, title, parser, encoding, digest, bytes, chunks, ",
                     LanguageColumn(format_), " FROM documents WHERE (source, path) > (?, ?) ORDER BY source, path"),
        after.first, after.second);
    while (rows.Next()) {
      if (filtered && !std::binary_search(filtered->keys.begin(), filtered->keys.end(), rows.Int(0))) continue;
      if (keys.size() == static_cast<size_t>(page_size)) {
        const DocumentInfo& last = page.documents.back();
        page.next_page_token = absl::WebSafeBase64Escape(last.source + '\0' + last.path);
        break;
      }
      keys.push_back(rows.Int(0));
      page.documents.push_back({rows.Text(1),
                                rows.Text(2),
                                rows.Text(3),
                                rows.Text(4),
                                rows.Text(5),
                                rows.Text(6),
                                rows.Text(7),
                                rows.Text(10),
                                rows.Int(8),
                                rows.Int(9),
                                {}});
    }
    if (!rows.status().ok()) return rows.status();
  }
  for (size_t i = 0; i < keys.size(); ++i) {
    Rows rows = database.Query("SELECT name, value FROM document_metadata WHERE document = ?", keys[i]);
    while (rows.Next()) page.documents[i].metadata[rows.Text(0)] = rows.Text(1);
    if (!rows.status().ok()) return rows.status();
  }
  return page;
}

absl::StatusOr<bool> Collection::Impl::IsCurrent(const std::string& source, const std::string& path,
                                                 const std::string& digest, const std::string& parser) const {
  absl::StatusOr<std::unique_ptr<Reading>> reading = Reading::Start(*this, false);
  if (!reading.ok()) return reading.status();
  Rows rows =
      (*reading)->database().Query("SELECT 1 FROM documents WHERE id = ? AND digest = ? AND parser = ? AND chunker = ?",
                                   DocumentId(source, path), digest, parser, ChunkerVersion(options_.chunker));
  const bool current = rows.Next();
  if (!rows.status().ok()) return rows.status();
  return current;
}

absl::StatusOr<std::string> Collection::Impl::Setting(const std::string& name) const {
  absl::StatusOr<std::unique_ptr<Reading>> reading = Reading::Start(*this, false);
  if (!reading.ok()) return reading.status();
  return ManifestValue((*reading)->database(), absl::StrCat(kSettingKey, name));
}

absl::StatusOr<CollectionStats> Collection::Impl::Stats() const {
  absl::StatusOr<std::unique_ptr<Reading>> reading = Reading::Start(*this, false);
  if (!reading.ok()) return reading.status();
  Database& database = (*reading)->database();
  CollectionStats stats;
  {
    Rows rows = database.Query(
        "SELECT (SELECT count(*) FROM documents), (SELECT count(*) FROM chunks), (SELECT count(*) FROM segments), "
        "(SELECT coalesce(sum(vectors), 0) FROM segments), (SELECT count(*) FROM tombstones), "
        "(SELECT coalesce(sum(bytes), 0) FROM documents)");
    if (!rows.Next()) return rows.status();
    stats.documents = rows.Int(0);
    stats.chunks = rows.Int(1);
    stats.segments = rows.Int(2);
    stats.vectors = rows.Int(3);
    stats.dead_vectors = rows.Int(4);
    stats.text_bytes = rows.Int(5);
  }
  for (const auto& [key, place] :
       {std::pair("generation", &stats.generation), std::pair("dimension", &stats.dimension)}) {
    absl::StatusOr<std::string> value = ManifestValue(database, key);
    if (!value.ok()) return value.status();
    (void)absl::SimpleAtoi(*value, place);
  }
  absl::StatusOr<std::string> embedder = ManifestValue(database, "embedder");
  if (!embedder.ok()) return embedder.status();
  stats.embedder = *embedder;
  {
    Rows rows = database.Query("SELECT key, value FROM manifest WHERE key GLOB ?", absl::StrCat(kSettingKey, "*"));
    while (rows.Next()) stats.settings[rows.Text(0).substr(std::string(kSettingKey).size())] = rows.Text(1);
    if (!rows.status().ok()) return rows.status();
  }
  if (absl::Status status = AddIndexStats(database, stats); !status.ok()) return status;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(folder_, error)) {
    const uintmax_t size = entry.file_size(error);
    if (error) continue;  // gone since
    const std::string extension = entry.path().extension().string();
    (extension == ".vec"     ? stats.segment_bytes
     : extension == ".idx"   ? stats.index_bytes
     : extension == ".words" ? stats.word_bytes
                             : stats.database_bytes) += static_cast<int64_t>(size);
  }
  return stats;
}

}  // namespace blazon::retrieval
