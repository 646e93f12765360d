// JSON and JSON Lines: the strings at a pointer, or every value with its path.
#include <algorithm>
#include <optional>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "retrieval/format_loaders.h"
#include "retrieval/json_reader.h"
#include "retrieval/text_builder.h"
#include "retrieval/text_decoder.h"
#include "retrieval/words.h"

namespace blazon::retrieval {
namespace {

// The steps of a pointer; nullopt when it is none.
std::optional<JsonPath> ParsePointer(const std::string& pointer) {
  if (pointer.empty() || pointer[0] != '/') return std::nullopt;
  JsonPath steps = absl::StrSplit(pointer.substr(1), '/');
  for (std::string& step : steps) step = absl::StrReplaceAll(step, {{"~1", "/"}, {"~0", "~"}});
  return steps;
}

bool Matches(const JsonPath& pointer, const JsonPath& path) {
  return pointer.size() == path.size() &&
         std::equal(pointer.begin(), pointer.end(), path.begin(),
                    [](const std::string& step, const std::string& name) { return step == "*" || step == name; });
}

class JsonText {
 public:
  JsonText(const LoaderOptions& options, std::optional<JsonPath> pointer, Document& document)
      : limit_(options.limits.max_text_bytes), pointer_(std::move(pointer)), document_(document) {}

  // A scalar of the value that starts at source byte `offset`; `keep_metadata`: the others of an object become it.
  void Add(const JsonPath& path, const JsonScalar& scalar, size_t offset, bool keep_metadata) {
    if (builder_.text().size() > limit_) return;  // the caller refuses it
    if (pointer_) {
      if (Matches(*pointer_, path)) {
        builder_.Break(2);
        AddText(scalar, offset);
      } else if (keep_metadata && path.size() == 1 && scalar.text != "null" && !scalar.text.empty()) {
        document_.metadata[ToCleanUtf8(path[0])] = ToCleanUtf8(scalar.text);
      }
      return;
    }
    if (scalar.text == "null" || StripWhitespace(scalar.text).empty()) return;
    const std::string record = path.empty() ? "" : path[0];
    const bool apart = record != record_ && (path.size() > 1 || record_nests_);
    builder_.Break(apart ? 2 : 1);
    record_ = record;
    record_nests_ = path.size() > 1;
    builder_.Mark(offset + scalar.begin);
    if (!path.empty()) builder_.Add(ToCleanUtf8(absl::StrCat(absl::StrJoin(path, "/"), ": ")));
    AddText(scalar, offset);
  }

  void EndRecord() {
    builder_.Break(2);
    record_nests_ = false;
  }
  bool empty() const { return builder_.text().empty(); }
  void MoveToDocument() {
    builder_.Break(1);
    builder_.MoveTo(document_);
  }

 private:
  void AddText(const JsonScalar& scalar, size_t offset) {
    if (!scalar.plain) builder_.Mark(offset + scalar.begin);
    if (scalar.plain) {
      builder_.Append(scalar.text, offset + scalar.begin);
    } else {
      builder_.Add(ToCleanUtf8(scalar.text));
    }
  }

  const size_t limit_;
  const std::optional<JsonPath> pointer_;
  Document& document_;
  TextBuilder builder_;
  std::string record_;         // first step of the path of the scalar before
  bool record_nests_ = false;  // that path has more steps
};

}  // namespace

absl::Status LoadJson(std::string_view source, bool lines, const LoaderOptions& options, Document& document) {
  std::optional<JsonPath> pointer;
  if (!options.json_text.empty()) {
    pointer = ParsePointer(options.json_text);
    if (!pointer) {
      return absl::InvalidArgumentError(absl::StrCat("json_text is '", options.json_text,
                                                     "'; it must be a JSON pointer, such as /body or /items/*/text"));
    }
  }
  JsonText text(options, pointer, document);
  if (!lines) {
    const absl::Status status =
        ReadJson(source, options.limits.max_nesting, 1,
                 [&](const JsonPath& path, const JsonScalar& scalar) { text.Add(path, scalar, 0, true); });
    if (!status.ok()) return status;
  } else {
    size_t line = 0, bad = 0, good = 0;
    absl::Status first_error;
    for (size_t begin = 0; begin < source.size();) {
      ++line;
      const size_t end = std::min(source.find('\n', begin), source.size());
      const std::string_view value = source.substr(begin, end - begin);
      if (!StripWhitespace(value).empty()) {
        // A line is read twice, so that a bad one leaves nothing behind.
        absl::Status status = ReadJson(value, options.limits.max_nesting, line, [](const auto&, const auto&) {});
        if (status.ok()) {
          ++good;
          status =
              ReadJson(value, options.limits.max_nesting, line,
                       [&](const JsonPath& path, const JsonScalar& scalar) { text.Add(path, scalar, begin, false); });
          text.EndRecord();
        } else {
          if (bad++ == 0) first_error = status;
        }
      }
      begin = end + 1;
    }
    if (bad > 0 && good == 0) return first_error;
    if (bad > 0) {
      document.warnings.push_back(
          absl::StrCat(bad, bad == 1 ? " line was" : " lines were", " left out: ", first_error.message()));
    }
  }
  if (pointer && text.empty()) {
    return absl::InvalidArgumentError(absl::StrCat("nothing in it stands at ", options.json_text));
  }
  text.MoveToDocument();
  return absl::OkStatus();
}

}  // namespace blazon::retrieval
