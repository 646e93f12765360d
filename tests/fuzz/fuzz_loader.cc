// Gives bytes to one loader, BLAZON_FUZZED_FORMAT, and checks what a document promises (retrieval/document.h).
//
// For the formats that are zip files the input is not the file but its entries, so that mutations reach our parsers and
// not libzip's checksums: "%%name\n" begins an entry.
#include <zip.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "retrieval/document_loader.h"
#include "retrieval/json_reader.h"
#include "retrieval/words.h"

namespace blazon::retrieval {
namespace {

constexpr DocumentFormat kFormat = DocumentFormat::BLAZON_FUZZED_FORMAT;

void Require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "broken promise: %s\n", what);
  std::abort();
}

// What nlohmann's parser says of a text: JSON, not JSON, or that it cannot tell, for a number is beyond what a double
// holds, where it stops. The grammar (RFC 8259) has no such limit, and our reader takes numbers as they are written.
enum class Verdict { kJson, kNotJson, kCannotTell };

class Grammar : public nlohmann::json_sax<nlohmann::json> {
 public:
  static Verdict Judge(std::string_view text) {
    Grammar grammar;
    if (nlohmann::json::sax_parse(text.begin(), text.end(), &grammar)) return Verdict::kJson;
    return grammar.error_ == kNumberOutOfRange ? Verdict::kCannotTell : Verdict::kNotJson;
  }

  bool null() override { return true; }
  bool boolean(bool) override { return true; }
  bool number_integer(number_integer_t) override { return true; }
  bool number_unsigned(number_unsigned_t) override { return true; }
  bool number_float(number_float_t, const string_t&) override { return true; }
  bool string(string_t&) override { return true; }
  bool binary(binary_t&) override { return true; }
  bool start_object(size_t) override { return true; }
  bool key(string_t&) override { return true; }
  bool end_object() override { return true; }
  bool start_array(size_t) override { return true; }
  bool end_array() override { return true; }
  bool parse_error(size_t, const std::string&, const nlohmann::json::exception& error) override {
    error_ = error.id;
    return false;
  }

 private:
  static constexpr int kNumberOutOfRange = 406;
  int error_ = 0;
};

bool IsZip() {
  switch (kFormat) {
    case DocumentFormat::kDocx:
    case DocumentFormat::kPptx:
    case DocumentFormat::kXlsx:
    case DocumentFormat::kOdt:
    case DocumentFormat::kEpub:
      return true;
    default:
      return false;
  }
}

// The zip file of the entries in `input`, stored.
std::string Pack(std::string_view input) {
  zip_error_t error;
  zip_error_init(&error);
  zip_source_t* source = zip_source_buffer_create(nullptr, 0, 0, &error);
  zip_t* archive = zip_open_from_source(source, ZIP_TRUNCATE, &error);
  if (!archive) std::abort();
  zip_source_keep(source);
  while (input.starts_with("%%")) {
    const size_t line_end = std::min(input.find('\n'), input.size());
    const std::string name(input.substr(2, line_end - 2));
    input.remove_prefix(std::min(line_end + 1, input.size()));
    size_t end = input.find("\n%%");
    const std::string_view content = input.substr(0, end);
    zip_source_t* entry = zip_source_buffer(archive, content.data(), content.size(), 0);
    const zip_int64_t index = zip_file_add(archive, name.c_str(), entry, 0);
    if (index < 0) {
      zip_source_free(entry);  // a name twice, or none
    } else {
      zip_set_file_compression(archive, static_cast<zip_uint64_t>(index), ZIP_CM_STORE, 0);
    }
    input.remove_prefix(end == std::string_view::npos ? input.size() : end + 1);
  }
  if (zip_close(archive) != 0) {
    zip_discard(archive);
    zip_source_free(source);
    return "";
  }
  std::string file;
  zip_source_open(source);
  char buffer[4096];
  for (zip_int64_t count; (count = zip_source_read(source, buffer, sizeof buffer)) > 0;)
    file.append(buffer, static_cast<size_t>(count));
  zip_source_close(source);
  zip_source_free(source);
  return file;
}

void Check(const Document& document) {
  const size_t size = document.text.size();
  Require(IsValidUtf8(document.text) && IsValidUtf8(document.title), "text is UTF-8");
  Require(document.text.find('\0') == std::string::npos, "text has no NUL");
  Require(document.text.find('\r') == std::string::npos, "lines end with a line feed");
  size_t last = 0;
  for (const Section& section : document.sections) {
    Require(section.begin >= last && section.begin <= size, "sections are in order");
    for (const std::string& heading : section.headings) Require(IsValidUtf8(heading), "headings are UTF-8");
    last = section.begin;
  }
  last = 0;
  for (const Place& place : document.places) {
    Require(place.begin >= last && place.begin <= size && IsValidUtf8(place.name), "places are in order");
    last = place.begin;
  }
  last = 0;
  for (const SourceRun& run : document.source_map) {
    Require(run.text_begin >= last && run.text_begin + run.length <= size, "the source map is in order");
    last = run.text_begin + run.length;
  }
  for (const auto& [name, value] : document.metadata)
    Require(IsValidUtf8(name) && IsValidUtf8(value), "metadata is UTF-8");
  for (size_t at = 0; at <= size; at += 1 + size / 7) Require(document.Line(at) >= 1, "lines count from 1");
}

}  // namespace
}  // namespace blazon::retrieval

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace blazon::retrieval;
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  LoaderOptions options;
  options.limits.max_text_bytes = 4u << 20;
  options.read_pictures = false;
  const absl::StatusOr<Document> document =
      LoadDocument(kFormat, IsZip() ? Pack(input) : std::string(input), "fuzzed.x", options);
  if (document.ok()) Check(*document);
  if (kFormat == DocumentFormat::kJson && IsValidUtf8(input) && input.find("\\u") == std::string_view::npos &&
      input.find('\0') == std::string_view::npos && !input.starts_with("\xef\xbb\xbf")) {
    // nlohmann's parser has no limit to nesting, and stops at a NUL.
    const absl::Status status = ReadJson(input, 512, 1, [](const JsonPath&, const JsonScalar&) {});
    const bool too_deep = status.message().find("nested deeper") != std::string_view::npos;
    const Verdict verdict = Grammar::Judge(input);
    Require(too_deep || verdict == Verdict::kCannotTell || status.ok() == (verdict == Verdict::kJson),
            "JSON is what JSON is");
  }
  return 0;
}
