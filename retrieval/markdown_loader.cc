// Markdown by md4c: its callbacks hand out pieces of the source itself, so the text keeps its places.
#include <md4c.h>

#include <algorithm>
#include <functional>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "retrieval/format_loaders.h"
#include "retrieval/text_builder.h"
#include "retrieval/words.h"

namespace blazon::retrieval {
namespace {

struct MarkdownReader {
  std::string_view source;
  int max_nesting;
  TextBuilder builder;
  HeadingStack headings;
  int depth = 0;
  int heading_level = 0;  // of the heading being read, 0 outside
  size_t heading_begin = 0;
  bool in_code = false;
  bool in_html = false;
  bool too_deep = false;
  bool first_cell = false;
  std::string title;  // first heading of level 1

  struct List {
    bool numbered;
    unsigned next;
  };
  std::vector<List> lists;
};

int EnterBlock(MD_BLOCKTYPE type, void* detail, void* data) {
  MarkdownReader& reader = *static_cast<MarkdownReader*>(data);
  if (++reader.depth > reader.max_nesting) {
    reader.too_deep = true;
    return 1;
  }
  switch (type) {
    case MD_BLOCK_H:
      reader.builder.Break(2);
      reader.heading_level = static_cast<int>(static_cast<MD_BLOCK_H_DETAIL*>(detail)->level);
      reader.heading_begin = reader.builder.text().size();
      break;
    case MD_BLOCK_UL:
      reader.builder.Break(reader.lists.empty() ? 2 : 1);
      reader.lists.push_back({false, 0});
      break;
    case MD_BLOCK_OL:
      reader.builder.Break(reader.lists.empty() ? 2 : 1);
      reader.lists.push_back({true, static_cast<MD_BLOCK_OL_DETAIL*>(detail)->start});
      break;
    case MD_BLOCK_LI:
      reader.builder.Break(1);
      if (!reader.lists.empty()) {
        reader.builder.Add(reader.lists.back().numbered ? absl::StrCat(reader.lists.back().next++, ". ")
                                                        : std::string("- "));
      }
      break;
    case MD_BLOCK_P:
      if (reader.lists.empty()) reader.builder.Break(2);
      break;
    case MD_BLOCK_CODE:
      reader.builder.Break(2);
      reader.in_code = true;
      break;
    case MD_BLOCK_HTML:
      reader.in_html = true;
      break;
    case MD_BLOCK_TABLE:
      reader.builder.Break(2);
      break;
    case MD_BLOCK_TR:
      reader.builder.Break(1);
      reader.first_cell = true;
      break;
    case MD_BLOCK_TH:
    case MD_BLOCK_TD:
      if (!reader.first_cell) reader.builder.Add(" | ");
      reader.first_cell = false;
      break;
    default:
      break;
  }
  return 0;
}

int LeaveBlock(MD_BLOCKTYPE type, void*, void* data) {
  MarkdownReader& reader = *static_cast<MarkdownReader*>(data);
  --reader.depth;
  switch (type) {
    case MD_BLOCK_H: {
      const std::string heading(StripWhitespace(std::string_view(reader.builder.text()).substr(reader.heading_begin)));
      if (reader.heading_level == 1 && reader.title.empty()) reader.title = heading;
      // The section begins with its heading.
      if (!heading.empty())
        reader.builder.StartSectionAt(reader.heading_begin, reader.headings.Push(reader.heading_level, heading));
      reader.heading_level = 0;
      reader.builder.Break(2);
      break;
    }
    case MD_BLOCK_UL:
    case MD_BLOCK_OL:
      if (!reader.lists.empty()) reader.lists.pop_back();
      reader.builder.Break(reader.lists.empty() ? 2 : 1);
      break;
    case MD_BLOCK_P:
    case MD_BLOCK_LI:
      reader.builder.Break(reader.lists.empty() ? 2 : 1);
      break;
    case MD_BLOCK_CODE:
      reader.in_code = false;
      reader.builder.Break(2);
      break;
    case MD_BLOCK_HTML:
      reader.in_html = false;
      break;
    case MD_BLOCK_TR:
      reader.builder.Break(1);
      break;
    case MD_BLOCK_TABLE:
    case MD_BLOCK_QUOTE:
      reader.builder.Break(2);
      break;
    default:
      break;
  }
  return 0;
}

int IgnoreSpan(MD_SPANTYPE, void*, void*) { return 0; }

int Text(MD_TEXTTYPE type, const MD_CHAR* text, MD_SIZE size, void* data) {
  MarkdownReader& reader = *static_cast<MarkdownReader*>(data);
  const std::string_view piece(text, size);
  const std::less<const char*> before;
  const bool in_source =
      !before(text, reader.source.data()) && !before(reader.source.data() + reader.source.size(), text + size);
  switch (type) {
    case MD_TEXT_HTML:
    case MD_TEXT_NULLCHAR:
      break;
    case MD_TEXT_BR:
      reader.builder.Break(1);
      break;
    case MD_TEXT_SOFTBR:
      reader.builder.Add(" ");
      break;
    case MD_TEXT_ENTITY:
      reader.builder.Add(DecodeEntity(piece));
      break;
    default:
      if (reader.in_html) break;
      if (in_source) {
        reader.builder.Append(piece, static_cast<size_t>(text - reader.source.data()));
      } else {
        reader.builder.Add(piece);
      }
  }
  return 0;
}

// Markers of quotes and lists at the start of a line nest; md4c's work grows with their number on every line.
bool NestsTooDeep(std::string_view source, int limit) {
  int markers = 0;
  bool at_start = true;
  for (size_t i = 0; i < source.size(); ++i) {
    const char c = source[i];
    if (c == '\n') {
      markers = 0;
      at_start = true;
    } else if (at_start &&
               (c == '>' || ((c == '-' || c == '*' || c == '+') && i + 1 < source.size() && source[i + 1] == ' '))) {
      if (++markers > limit) return true;
    } else if (c != ' ' && c != '\t') {
      at_start = false;
    }
  }
  return false;
}

// "---", lines, "---" at the very start: settings of the page, not text. Returns where the text begins.
size_t SkipFrontMatter(std::string_view source, std::string& title) {
  if (!source.starts_with("---\n") && !source.starts_with("---\r\n")) return 0;
  size_t line_begin = source.find('\n') + 1;
  std::string found;
  while (line_begin < source.size()) {
    const size_t line_end = std::min(source.find('\n', line_begin), source.size());
    std::string_view line = StripWhitespace(source.substr(line_begin, line_end - line_begin));
    line_begin = std::min(line_end + 1, source.size());
    if (line == "---" || line == "...") {
      title = found;
      return line_begin;
    }
    if (line.starts_with("title:")) {
      line = StripWhitespace(line.substr(6));
      if (line.size() > 1 && (line.front() == '"' || line.front() == '\'') && line.back() == line.front())
        line = line.substr(1, line.size() - 2);
      found = std::string(line);
    }
  }
  return 0;
}

}  // namespace

absl::Status LoadMarkdown(std::string_view source, const LoaderLimits& limits, Document& document) {
  if (NestsTooDeep(source, limits.max_nesting)) {
    return absl::InvalidArgumentError(absl::StrCat("quotes and lists are nested deeper than ", limits.max_nesting));
  }
  MarkdownReader reader;
  reader.source = source;
  reader.max_nesting = limits.max_nesting;
  const size_t begin = SkipFrontMatter(source, document.title);
  const MD_PARSER parser = {0,          MD_FLAG_TABLES | MD_FLAG_STRIKETHROUGH | MD_FLAG_TASKLISTS,
                            EnterBlock, LeaveBlock,
                            IgnoreSpan, IgnoreSpan,
                            Text,       nullptr,
                            nullptr};
  const int result = md_parse(source.data() + begin, static_cast<MD_SIZE>(source.size() - begin), &parser, &reader);
  if (reader.too_deep)
    return absl::InvalidArgumentError(absl::StrCat("quotes and lists are nested deeper than ", limits.max_nesting));
  if (result != 0) return absl::ResourceExhaustedError("there is not enough memory to read it");
  reader.builder.MoveTo(document);
  if (document.title.empty()) document.title = reader.title;
  return absl::OkStatus();
}

}  // namespace blazon::retrieval
