// A document as the loaders hand it over: readable text, and the way from each byte of it back to the file.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
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
// its own in the source. A file that is not text (PDF, an office document, an e-mail) has no such source: there the
// text itself stands for it.
struct SourceRun {
  size_t text_begin = 0;
  size_t source_begin = 0;
  size_t length = 0;
};

// From `begin` to the next section's begin, the text stands under these headings, outermost first.
struct Section {
  size_t begin = 0;
  std::vector<std::string> headings;
  bool heading_line = true;  // the innermost heading may stand as a line of its own at the section's begin
};

// From `begin` to the next place's begin, the text stands there in the file: "page=3", "slide=2", "sheet=Prices",
// "chapter=4". No chunk spans two places, so that path#place is where a citation can be checked.
struct Place {
  size_t begin = 0;
  std::string name;
};

// In points (1/72 inch), from the upper left corner of the page.
struct Box {
  double left = 0, top = 0, width = 0, height = 0;
  bool empty() const { return width <= 0 || height <= 0; }
  friend bool operator==(const Box&, const Box&) = default;
};

// Where on its page a part of the text stands.
struct Region {
  Span span;
  Box box;
};

// A piece of a document as whoever puts it has cut it.
struct GivenChunk {
  Span span;                 // at least a byte, at ends of characters
  std::string heading_path;  // "Care > Watering"; may be empty
  // What is put before the text for embedding. Unset: title and heading path, as the chunker does it.
  std::optional<std::string> prefix;
  int64_t line = 0;   // of the source; 0: Document::Line tells
  std::string place;  // empty: Document::PlaceAt tells
  Box box;            // empty: Document::BoxOf tells
};

// Takes the place of the chunker and, with vectors, of the embedder too.
struct GivenChunks {
  std::vector<GivenChunk> chunks;  // by the begin of their spans; they may overlap, and need not cover the text
  // A row for each chunk, finite, not all zeros; brought to L2 norm 1 when put. Empty: the collection's embedder makes
  // them, and prefix and text of each must fit it.
  std::vector<float> vectors;
  // What the vectors come from: an embedder's fingerprint, or GivenEmbedder(name) of one that is not here. Needed with
  // vectors.
  std::string embedder;
  std::string chunker;  // what cut it, as Collection::Export names it; empty: the caller
};

// The fingerprint of vectors that callers bring with them, and the only one that a collection takes beside its own
// embedder's: "given:" and the name, which may have that before it already.
std::string GivenEmbedder(const std::string& name);
bool IsGivenEmbedder(const std::string& fingerprint);

struct Document {
  std::string source;  // name of the root that `path` is relative to; may be empty
  // Relative to the source, '/' between parts; (source, path) identifies the document in a collection.
  std::string path;
  std::string title;                  // from the document itself, else from the file name
  std::string text;                   // valid UTF-8, no NUL, lines end with '\n'
  std::vector<Section> sections;      // by begin; empty when the document has no headings
  std::vector<Place> places;          // by begin; empty when only lines tell where the text stands
  std::vector<Region> regions;        // by span; of a PDF
  std::vector<SourceRun> source_map;  // by text_begin
  std::vector<size_t> line_starts;    // source offset of each line, the first is 0
  std::string parser;                 // name and version of what read it, e.g. "markdown/1"
  // Of the source: "UTF-8", "UTF-16LE", "UTF-16BE", one that an HTML page declares or ICU detects, or "windows-1252"
  // (assumed); empty for files that are not text.
  std::string encoding;
  // ISO 639-1, such as "de": whose stems its words are searched by. Empty when put: what metadata say under "language",
  // else what the text looks like; as a collection gives it: not known.
  std::string language;
  std::string content_digest;                   // SHA-256 of the file's bytes, lower-case hex
  std::map<std::string, std::string> metadata;  // free; searchable by equality
  // What a person should know of the reading, such as "page 3 is a picture without text"; not kept in collections.
  std::vector<std::string> warnings;
  std::optional<GivenChunks> given;

  // The source byte that text byte `offset` came from: exact inside a run, the end of the run before it elsewhere.
  size_t SourceOffset(size_t offset) const;
  // 1-based line of the source for a text offset.
  int64_t Line(size_t offset) const;
  // The headings that stand over text byte `offset`; empty when there are none.
  const std::vector<std::string>& HeadingsAt(size_t offset) const;
  // The name of the place of text byte `offset`; empty when there is none.
  const std::string& PlaceAt(size_t offset) const;
  // The smallest box around the regions that touch the span; empty when there are none.
  Box BoxOf(Span span) const;
};

}  // namespace blazon::retrieval
