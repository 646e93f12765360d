// A document as the loaders hand it over: readable text, and the way from each byte of it back to the file.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace blazon::retrieval {

// Bytes [begin, end) of a document's text.
struct Span {
  size_t begin = 0;
  size_t end = 0;
  size_t size() const { return end - begin; }
  friend bool operator==(const Span&, const Span&) = default;
};

// Text bytes [text_begin, text_begin + length) were read from source bytes starting at source_begin. The source is the
// file's content in UTF-8, without byte-order mark and with '\n' at line ends; of a file that is so already, the
// offsets are the file's. Text between two runs (a line break put between paragraphs, a decoded entity) has no bytes of
// its own in the source.
struct SourceRun {
  size_t text_begin = 0;
  size_t source_begin = 0;
  size_t length = 0;
};

// From `begin` to the next section's begin, the text stands under these headings, outermost first.
struct Section {
  size_t begin = 0;
  std::vector<std::string> headings;
};

struct Document {
  std::string source;  // name of the root that `path` is relative to; may be empty
  // Relative to the source, '/' between parts; (source, path) identifies the document in a collection.
  std::string path;
  std::string title;                  // from the document itself, else from the file name
  std::string text;                   // valid UTF-8, no NUL, lines end with '\n'
  std::vector<Section> sections;      // by begin; empty when the document has no headings
  std::vector<SourceRun> source_map;  // by text_begin
  std::vector<size_t> line_starts;    // source offset of each line, the first is 0
  std::string parser;                 // name and version of what read it, e.g. "markdown/1"
  // Of the source: "UTF-8", "UTF-16LE", "UTF-16BE", one that an HTML page declares, or "windows-1252" (assumed).
  std::string encoding;
  std::string content_digest;                   // SHA-256 of the file's bytes, lower-case hex
  std::map<std::string, std::string> metadata;  // free; searchable by equality

  // The source byte that text byte `offset` came from: exact inside a run, the end of the run before it elsewhere.
  size_t SourceOffset(size_t offset) const;
  // 1-based line of the source for a text offset.
  int64_t Line(size_t offset) const;
  // The headings that stand over text byte `offset`; empty when there are none.
  const std::vector<std::string>& HeadingsAt(size_t offset) const;
};

}  // namespace blazon::retrieval
