#include "service/document_line.h"

#include <cstdint>
#include <filesystem>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "retrieval/text_language.h"
#include "service/checkpoint/json_file.h"

namespace blazon::service {
namespace {

namespace fs = std::filesystem;
using nlohmann::ordered_json;

// Reads values out of a JSON object by key, remembers the first that is wrong, and which keys nobody asked for.
class Fields {
 public:
  explicit Fields(const nlohmann::json& object, std::string where = "") : object_(object), where_(std::move(where)) {}

  const nlohmann::json* Find(const std::string& key) {
    known_.insert(key);
    const auto found = object_.find(key);
    return found == object_.end() ? nullptr : &*found;
  }
  // False when there is none.
  bool Text(const std::string& key, std::string& out) {
    const nlohmann::json* value = Find(key);
    if (value == nullptr) return false;
    if (!value->is_string()) return Fail(absl::StrCat(where_, "\"", key, "\" is not a string"));
    out = value->get<std::string>();
    return true;
  }
  bool Number(const std::string& key, int64_t& out) {
    const nlohmann::json* value = Find(key);
    if (value == nullptr) return false;
    if (!value->is_number_integer() || (value->is_number_unsigned() && value->get<uint64_t>() > kMost) ||
        value->get<int64_t>() < 0)
      return Fail(absl::StrCat(where_, "\"", key, "\" is not a whole number from 0"));
    out = value->get<int64_t>();
    return true;
  }
  // `numbers` gets those of a list.
  template <typename T>
  bool Numbers(const std::string& key, std::vector<T>& numbers) {
    const nlohmann::json* value = Find(key);
    if (value == nullptr) return false;
    if (!value->is_array()) return Fail(absl::StrCat(where_, "\"", key, "\" is not a list of numbers"));
    for (const nlohmann::json& number : *value) {
      if (!number.is_number()) return Fail(absl::StrCat(where_, "\"", key, "\" is not a list of numbers"));
      numbers.push_back(number.get<T>());
    }
    return true;
  }
  bool Fail(const std::string& what) {
    if (status_.ok()) status_ = absl::InvalidArgumentError(what);
    return false;
  }
  absl::Status Finish(absl::string_view remedy) {
    for (const auto& [key, value] : object_.items()) {
      if (!known_.contains(key)) Fail(absl::StrCat(where_, "\"", key, "\" is not a key that is known here", remedy));
    }
    return status_;
  }

 private:
  static constexpr uint64_t kMost = std::numeric_limits<int64_t>::max();
  const nlohmann::json& object_;
  const std::string where_;
  std::set<std::string> known_;
  absl::Status status_;
};

absl::Status TakeChunk(const nlohmann::json& object, size_t number, retrieval::GivenChunks& given) {
  const std::string where = absl::StrCat("chunk ", number, ": ");
  if (!object.is_object()) return absl::InvalidArgumentError(absl::StrCat(where, "it is not an object"));
  Fields fields(object, where);
  retrieval::GivenChunk& chunk = given.chunks.emplace_back();
  int64_t begin = 0, end = 0;
  if (!fields.Number("begin", begin)) fields.Fail(absl::StrCat(where, "\"begin\" is missing"));
  if (!fields.Number("end", end)) fields.Fail(absl::StrCat(where, "\"end\" is missing"));
  chunk.span = {static_cast<size_t>(begin), static_cast<size_t>(end)};
  fields.Text("headings", chunk.heading_path);
  std::string prefix;
  if (fields.Text("prefix", prefix)) chunk.prefix = std::move(prefix);
  fields.Number("line", chunk.line);
  fields.Text("place", chunk.place);
  std::vector<double> box;
  if (fields.Numbers("box", box)) {
    if (box.size() == 4) {
      chunk.box = {box[0], box[1], box[2], box[3]};
    } else {
      fields.Fail(absl::StrCat(where, "\"box\" is not [left, top, width, height]"));
    }
  }
  const size_t before = given.vectors.size();
  fields.Numbers("vector", given.vectors);
  if (given.vectors.size() - before != given.vectors.size() / given.chunks.size() ||
      given.vectors.size() % given.chunks.size() != 0) {
    fields.Fail(absl::StrCat(where, "its vector has ", given.vectors.size() - before,
                             " numbers, unlike those before it; all have one of the same dimension, or none has"));
  }
  return fields.Finish("");
}

}  // namespace

absl::StatusOr<std::string> ToLine(const retrieval::Document& document) {
  ordered_json line = {{"source", document.source},        {"path", document.path},     {"title", document.title},
                       {"metadata", document.metadata},    {"parser", document.parser}, {"encoding", document.encoding},
                       {"digest", document.content_digest}};
  // What metadata say is found there again.
  const auto described = document.metadata.find("language");
  if (!document.language.empty() && (described == document.metadata.end() || described->second != document.language))
    line["language"] = document.language;
  line["chunker"] = document.given->chunker;
  line["chunks"] = ordered_json::array();
  for (const retrieval::GivenChunk& chunk : document.given->chunks) {
    ordered_json piece = {{"begin", chunk.span.begin}, {"end", chunk.span.end}, {"line", chunk.line}};
    if (!chunk.place.empty()) piece["place"] = chunk.place;
    if (!chunk.box.empty()) piece["box"] = {chunk.box.left, chunk.box.top, chunk.box.width, chunk.box.height};
    if (!chunk.heading_path.empty()) piece["headings"] = chunk.heading_path;
    piece["prefix"] = *chunk.prefix;
    line["chunks"].push_back(std::move(piece));
  }
  line["text"] = document.text;
  try {
    return line.dump() + "\n";
  } catch (const nlohmann::json::exception&) {
    return absl::FailedPreconditionError(absl::StrCat("document ", absl::CHexEscape(document.path),
                                                      " has metadata that is not UTF-8; JSON cannot hold it"));
  }
}

absl::StatusOr<retrieval::Document> ParseLine(const std::string& text) {
  const absl::StatusOr<nlohmann::json> line = ParseJson(text);
  if (!line.ok()) return absl::InvalidArgumentError(absl::StrCat("it is ", line.status().message()));
  if (!line->is_object()) return absl::InvalidArgumentError("it is not a JSON object");
  Fields fields(*line);
  retrieval::Document document;
  fields.Text("source", document.source);
  const bool has_path = fields.Text("path", document.path), has_id = fields.Text("_id", document.path);
  if (has_path == has_id) fields.Fail("it needs one of \"path\" and \"_id\"");
  if (document.path.empty()) fields.Fail("its path is empty");
  if (!fields.Text("title", document.title)) document.title = fs::path(document.path).stem().string();
  if (!fields.Text("text", document.text)) fields.Fail("\"text\" is missing");
  document.source_map = {{0, 0, document.text.size()}};
  document.line_starts = {0};
  for (size_t at = 0; (at = document.text.find('\n', at)) != std::string::npos;) document.line_starts.push_back(++at);
  if (fields.Text("language", document.language)) {
    if (absl::Status status = retrieval::CheckLanguage(document.language); !status.ok())
      fields.Fail(std::string(status.message()));
  }
  document.parser = "import/1";
  fields.Text("parser", document.parser);
  fields.Text("encoding", document.encoding);
  fields.Text("digest", document.content_digest);
  if (const nlohmann::json* metadata = fields.Find("metadata")) {
    if (!metadata->is_object()) fields.Fail("\"metadata\" is not an object");
    for (auto entry = metadata->begin(); metadata->is_object() && entry != metadata->end(); ++entry) {
      const std::string& name = entry.key();
      const nlohmann::json& value = entry.value();
      if (value.is_string()) {
        document.metadata[name] = value.get<std::string>();
      } else {
        fields.Fail(absl::StrCat("metadata \"", name, "\" is not a string"));
      }
    }
  }
  std::string chunker;
  const bool has_chunker = fields.Text("chunker", chunker);
  if (const nlohmann::json* chunks = fields.Find("chunks")) {
    if (!chunks->is_array()) {
      fields.Fail("\"chunks\" is not a list");
    } else {
      retrieval::GivenChunks& given = document.given.emplace();
      given.chunker = chunker;
      for (size_t i = 0; i < chunks->size(); ++i) {
        if (absl::Status status = TakeChunk((*chunks)[i], i, given); !status.ok()) return status;
      }
    }
  } else if (has_chunker) {
    fields.Fail("\"chunker\" stands without \"chunks\"");
  }
  if (absl::Status status = fields.Finish("; what is to be kept beside the text goes into \"metadata\""); !status.ok())
    return status;
  return document;
}

}  // namespace blazon::service
