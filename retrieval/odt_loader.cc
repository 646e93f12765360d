// ODT (OpenDocument 1.3 part 3): headings, paragraphs, lists, tables, notes.
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "retrieval/format_loaders.h"
#include "retrieval/text_builder.h"
#include "retrieval/text_decoder.h"
#include "retrieval/words.h"
#include "retrieval/xml.h"
#include "retrieval/zip_archive.h"

namespace blazon::retrieval {
namespace {

constexpr int64_t kMostSpaces = 1000;  // of <text:s text:c="...">
constexpr int64_t kMostRepeats = 100;  // of a cell or row that is not empty

class OdtReader {
 public:
  explicit OdtReader(const LoaderLimits& limits) : limits_(limits) {}

  absl::Status Read(const pugi::xml_node& text, Document& document) {
    if (absl::Status status = ReadBlocks(text, 0); !status.ok()) return status;
    const std::vector<pugi::xml_node> notes = std::move(notes_);
    for (const pugi::xml_node& note : notes) {
      if (absl::Status status = ReadBlocks(note, 0); !status.ok()) return status;
    }
    builder_.Break(1);
    builder_.MoveTo(document);
    if (document.title.empty()) document.title = first_heading_;
    return absl::OkStatus();
  }

 private:
  absl::Status Check(int depth) const {
    if (depth > limits_.max_nesting)
      return absl::InvalidArgumentError(absl::StrCat("its parts are nested deeper than ", limits_.max_nesting));
    if (builder_.text().size() > limits_.max_text_bytes) {
      return absl::InvalidArgumentError(
          absl::StrCat("it holds more than the ", limits_.max_text_bytes, " bytes of text that are allowed"));
    }
    return absl::OkStatus();
  }

  absl::Status ReadBlocks(const pugi::xml_node& parent, int depth) {
    if (absl::Status status = Check(depth); !status.ok()) return status;
    for (const pugi::xml_node& node : parent.children()) {
      const std::string_view name = LocalName(node);
      absl::Status status;
      if (name == "h" || name == "p") {
        status = ReadParagraph(node, name == "h", depth + 1);
      } else if (name == "list") {
        ++list_depth_;
        status = ReadBlocks(node, depth + 1);
        if (--list_depth_ == 0) builder_.Break(2);
      } else if (name == "list-item" || name == "list-header") {
        marker_ = name == "list-item";
        status = ReadBlocks(node, depth + 1);
        marker_ = false;
      } else if (name == "table") {
        status = ReadTable(node, depth + 1);
      } else if (name == "section" || name == "index-body" || name == "text-box" || name == "note-body" ||
                 name == "frame" || name == "table-of-content" || name == "numbered-paragraph") {
        status = ReadBlocks(node, depth + 1);
      }
      if (!status.ok()) return status;
    }
    return absl::OkStatus();
  }

  absl::Status ReadParagraph(const pugi::xml_node& paragraph, bool heading, int depth) {
    std::string text;
    boxes_.clear();
    if (absl::Status status = ReadText(paragraph, depth, text); !status.ok()) return status;
    text = ToCleanUtf8(text);
    const std::vector<pugi::xml_node> boxes = std::move(boxes_);
    if (!StripWhitespace(text).empty()) {
      if (table_depth_ > 0) {
        std::replace(text.begin(), text.end(), '\n', ' ');
        if (!cell_empty_) builder_.Add(" ");
        builder_.Add(text);
        cell_empty_ = false;
      } else if (heading) {
        const std::string line(StripWhitespace(text));
        builder_.Break(2);
        const size_t begin = builder_.text().size();
        builder_.Add(line);
        const int64_t level = std::clamp<int64_t>(NumberAttribute(paragraph, "outline-level", 1), 1, 10);
        builder_.StartSectionAt(begin, headings_.Push(static_cast<int>(level), line));
        if (first_heading_.empty()) first_heading_ = line;
        builder_.Break(2);
      } else {
        builder_.Break(list_depth_ > 0 && in_list_ ? 1 : 2);
        if (std::exchange(marker_, false)) builder_.Add("- ");
        builder_.Add(text);
        in_list_ = list_depth_ > 0;
      }
    }
    for (const pugi::xml_node& box : boxes) {
      if (absl::Status status = ReadBlocks(box, depth + 1); !status.ok()) return status;
    }
    return absl::OkStatus();
  }

  // White space runs collapse as in HTML (part 3, 6.1.2).
  static void AddCharacters(std::string_view characters, std::string& text) {
    for (const char c : characters) {
      const bool space = c == ' ' || c == '\t' || c == '\n' || c == '\r';
      if (!space) {
        text += c;
      } else if (!text.empty() && text.back() != ' ' && text.back() != '\n' && text.back() != '\t') {
        text += ' ';
      }
    }
  }

  absl::Status ReadText(const pugi::xml_node& parent, int depth, std::string& text) {
    if (absl::Status status = Check(depth); !status.ok()) return status;
    for (const pugi::xml_node& node : parent.children()) {
      if (node.type() == pugi::node_pcdata || node.type() == pugi::node_cdata) {
        AddCharacters(node.value(), text);
        continue;
      }
      const std::string_view name = LocalName(node);
      if (name == "s") {
        text.append(static_cast<size_t>(std::clamp<int64_t>(NumberAttribute(node, "c", 1), 0, kMostSpaces)), ' ');
      } else if (name == "tab") {
        text += '\t';
      } else if (name == "line-break") {
        text += '\n';
      } else if (name == "note") {
        notes_.push_back(Child(node, "note-body"));
      } else if (name == "text-box") {
        boxes_.push_back(node);
      } else if (name != "annotation" && name != "annotation-end" && name != "ruby-text" && name != "tracked-changes" &&
                 name != "title" && name != "desc") {
        if (absl::Status status = ReadText(node, depth + 1, text); !status.ok()) return status;
      }
    }
    return absl::OkStatus();
  }

  absl::Status ReadTable(const pugi::xml_node& table, int depth) {
    if (table_depth_ == 0) builder_.Break(2);
    ++table_depth_;
    if (absl::Status status = ReadRows(table, depth); !status.ok()) return status;
    --table_depth_;
    if (table_depth_ == 0) builder_.Break(2);
    in_list_ = false;
    return absl::OkStatus();
  }

  absl::Status ReadRows(const pugi::xml_node& parent, int depth) {
    if (absl::Status status = Check(depth); !status.ok()) return status;
    for (const pugi::xml_node& row : parent.children()) {
      const std::string_view name = LocalName(row);
      if (name == "table-header-rows" || name == "table-rows" || name == "table-row-group") {
        if (absl::Status status = ReadRows(row, depth + 1); !status.ok()) return status;
      }
      if (name != "table-row") continue;
      const int64_t repeats = std::clamp<int64_t>(NumberAttribute(row, "number-rows-repeated", 1), 1, kMostRepeats);
      for (int64_t i = 0; i < repeats; ++i) {
        if (table_depth_ == 1) builder_.Break(1);
        const size_t begin = builder_.text().size();
        if (absl::Status status = ReadRow(row, depth); !status.ok()) return status;
        if (builder_.text().size() == begin) break;  // nothing to repeat
      }
    }
    return absl::OkStatus();
  }

  absl::Status ReadRow(const pugi::xml_node& row, int depth) {
    bool first = true;
    for (const pugi::xml_node& cell : row.children()) {
      const std::string_view kind = LocalName(cell);
      if (kind != "table-cell" && kind != "covered-table-cell") continue;
      const int64_t columns = NumberAttribute(cell, "number-columns-repeated", 1);
      for (int64_t column = 0; column < std::clamp<int64_t>(columns, 1, kMostRepeats); ++column) {
        if (!first) builder_.Add(" | ");
        first = false;
        cell_empty_ = true;
        if (absl::Status status = ReadBlocks(cell, depth + 1); !status.ok()) return status;
        if (cell_empty_) break;  // nothing to repeat
      }
    }
    return absl::OkStatus();
  }

  const LoaderLimits& limits_;
  TextBuilder builder_;
  HeadingStack headings_;
  std::vector<pugi::xml_node> notes_;
  std::vector<pugi::xml_node> boxes_;  // of the paragraph being read
  std::string first_heading_;
  int table_depth_ = 0, list_depth_ = 0;
  bool in_list_ = false;
  bool marker_ = false;  // the next paragraph begins an item
  bool cell_empty_ = false;
};

}  // namespace

absl::Status LoadOdt(std::string_view bytes, const LoaderLimits& limits, Document& document) {
  absl::StatusOr<std::unique_ptr<ZipArchive>> archive = ZipArchive::Open(bytes, limits);
  if (!archive.ok()) return archive.status();
  absl::StatusOr<std::string> type = (*archive)->Read("mimetype");
  if (!type.ok() || StripWhitespace(*type) != "application/vnd.oasis.opendocument.text")
    return absl::InvalidArgumentError("by its name it is an OpenDocument text, by its content another zip file");
  if (absl::StatusOr<std::string> manifest = (*archive)->Read("META-INF/manifest.xml");
      manifest.ok() && manifest->find("encryption-data") != std::string::npos)
    return absl::InvalidArgumentError("it is encrypted; save a copy without its password");
  absl::StatusOr<std::string> content = (*archive)->Read("content.xml");
  if (!content.ok()) return content.status();
  if (absl::StatusOr<std::string> meta = (*archive)->Read("meta.xml"); meta.ok()) {
    absl::StatusOr<std::unique_ptr<pugi::xml_document>> xml = ParseXml(*meta, "meta.xml");
    if (!xml.ok()) return xml.status();
    const pugi::xml_node properties = Child(**xml, "document-meta", "meta");
    document.title = ToCleanUtf8(StripWhitespace(TextOf(Child(properties, "title"))));
    const std::string author = ToCleanUtf8(StripWhitespace(TextOf(Child(properties, "creator"))));
    if (!author.empty()) document.metadata["author"] = author;
  }
  absl::StatusOr<std::unique_ptr<pugi::xml_document>> xml = ParseXml(*content, "content.xml");
  if (!xml.ok()) return xml.status();
  return OdtReader(limits).Read(Child(**xml, "document-content", "body", "text"), document);
}

}  // namespace blazon::retrieval
