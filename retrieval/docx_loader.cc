// DOCX (WordprocessingML, ECMA-376 part 1 section 17): headings, paragraphs, lists, tables, notes.
#include <algorithm>
#include <map>
#include <set>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "retrieval/format_loaders.h"
#include "retrieval/office_package.h"
#include "retrieval/text_builder.h"
#include "retrieval/text_decoder.h"
#include "retrieval/words.h"
#include "retrieval/xml.h"

namespace blazon::retrieval {
namespace {

struct Style {
  std::string based_on;
  int heading = -1;  // 1 to 9; 0: the title; -1: neither
  std::string list;  // numId, when the style numbers its paragraphs
};

class DocxReader {
 public:
  DocxReader(OfficePackage& package, const LoaderLimits& limits) : package_(package), limits_(limits) {}

  absl::Status Read(Document& document) {
    if (absl::Status status = package_.ReadProperties(document); !status.ok()) return status;
    if (absl::Status status = ReadStyles(); !status.ok()) return status;
    if (absl::Status status = ReadNumbering(); !status.ok()) return status;
    absl::StatusOr<std::unique_ptr<pugi::xml_document>> main = package_.Part(package_.main_part());
    if (!main.ok()) return main.status();
    if (absl::Status status = ReadBlocks(Child(**main, "document", "body"), 0); !status.ok()) return status;
    for (const char* kind : {"footnotes", "endnotes"}) {
      if (absl::Status status = ReadNotes(kind); !status.ok()) return status;
    }
    builder_.Break(1);
    builder_.MoveTo(document);
    if (document.title.empty()) document.title = title_.empty() ? first_heading_ : title_;
    return absl::OkStatus();
  }

 private:
  absl::StatusOr<std::unique_ptr<pugi::xml_document>> RelatedPart(std::string_view type) {
    absl::StatusOr<std::string> name = package_.Related(package_.main_part(), type);
    if (!name.ok()) return name.status();
    if (name->empty()) return std::unique_ptr<pugi::xml_document>();
    return package_.OptionalPart(*name);
  }

  absl::Status ReadStyles() {
    absl::StatusOr<std::unique_ptr<pugi::xml_document>> xml = RelatedPart("styles");
    if (!xml.ok()) return xml.status();
    if (!*xml) return absl::OkStatus();
    for (const pugi::xml_node& node : Child(**xml, "styles").children()) {
      if (LocalName(node) != "style") continue;
      Style style;
      style.based_on = std::string(Attribute(Child(node, "basedOn"), "val"));
      const int64_t level = NumberAttribute(Child(node, "pPr", "outlineLvl"), "val", -1);
      if (level >= 0 && level < 9) style.heading = static_cast<int>(level) + 1;
      const std::string_view name = Attribute(Child(node, "name"), "val");
      if (name == "Title" || name == "title") style.heading = 0;
      if (name.starts_with("heading ") || name.starts_with("Heading ")) {
        int number = 0;
        if (absl::SimpleAtoi(std::string(name.substr(8)), &number) && number >= 1 && number <= 9)
          style.heading = number;
      }
      style.list = std::string(Attribute(Child(node, "pPr", "numPr", "numId"), "val"));
      styles_[std::string(Attribute(node, "styleId"))] = style;
    }
    return absl::OkStatus();
  }

  absl::Status ReadNumbering() {
    absl::StatusOr<std::unique_ptr<pugi::xml_document>> xml = RelatedPart("numbering");
    if (!xml.ok()) return xml.status();
    if (!*xml) return absl::OkStatus();
    const pugi::xml_node numbering = Child(**xml, "numbering");
    std::map<std::string, std::set<int64_t>> numbered;  // levels of an abstract list
    for (const pugi::xml_node& list : numbering.children()) {
      if (LocalName(list) != "abstractNum") continue;
      for (const pugi::xml_node& level : list.children()) {
        const std::string_view format = Attribute(Child(level, "numFmt"), "val");
        if (LocalName(level) == "lvl" && !format.empty() && format != "bullet" && format != "none")
          numbered[std::string(Attribute(list, "abstractNumId"))].insert(NumberAttribute(level, "ilvl", 0));
      }
    }
    for (const pugi::xml_node& list : numbering.children()) {
      if (LocalName(list) != "num") continue;
      numbered_levels_[std::string(Attribute(list, "numId"))] =
          numbered[std::string(Attribute(Child(list, "abstractNumId"), "val"))];
    }
    return absl::OkStatus();
  }

  // What a style says, or one that it is based on.
  Style Resolve(std::string name) const {
    Style result;
    for (int step = 0; step < 20; ++step) {  // styles may be based on one another in a circle
      const auto found = styles_.find(name);
      if (found == styles_.end()) break;
      if (result.heading < 0) result.heading = found->second.heading;
      if (result.list.empty()) result.list = found->second.list;
      name = found->second.based_on;
    }
    return result;
  }

  absl::Status TooDeep() const {
    return absl::InvalidArgumentError(absl::StrCat("its parts are nested deeper than ", limits_.max_nesting));
  }

  // Paragraphs and tables of a body, a cell, a note.
  absl::Status ReadBlocks(const pugi::xml_node& parent, int depth) {
    if (depth > limits_.max_nesting) return TooDeep();
    for (const pugi::xml_node& node : parent.children()) {
      const std::string_view name = LocalName(node);
      absl::Status status;
      if (name == "p") {
        status = ReadParagraph(node, depth + 1);
      } else if (name == "tbl") {
        status = ReadTable(node, depth + 1);
      } else if (name == "sdt" || name == "sdtContent" || name == "customXml" || name == "smartTag" || name == "ins" ||
                 name == "moveTo") {
        status = ReadBlocks(node, depth + 1);
      } else if (name == "AlternateContent") {
        status = ReadBlocks(Child(node, "Choice"), depth + 1);
      }
      if (!status.ok()) return status;
    }
    return absl::OkStatus();
  }

  absl::Status ReadParagraph(const pugi::xml_node& paragraph, int depth) {
    std::string text;
    boxes_.clear();
    if (absl::Status status = ReadRuns(paragraph, depth, text); !status.ok()) return status;
    text = ToCleanUtf8(text);
    const std::vector<pugi::xml_node> boxes = std::move(boxes_);
    const pugi::xml_node properties = Child(paragraph, "pPr");
    const Style style = Resolve(std::string(Attribute(Child(properties, "pStyle"), "val")));
    int heading = style.heading;
    if (const int64_t level = NumberAttribute(Child(properties, "outlineLvl"), "val", -1); level >= 0 && level < 9)
      heading = static_cast<int>(level) + 1;
    if (!StripWhitespace(text).empty()) {
      if (heading >= 0 && table_depth_ == 0) {
        const std::string line(StripWhitespace(text));
        builder_.Break(2);
        const size_t begin = builder_.text().size();
        builder_.Add(line);
        if (heading == 0) {
          if (title_.empty()) title_ = line;
        } else {
          if (first_heading_.empty()) first_heading_ = line;
          builder_.StartSectionAt(begin, headings_.Push(heading, line));
        }
        builder_.Break(2);
        in_list_ = false;
      } else {
        AddParagraph(text, properties, style);
      }
    }
    for (const pugi::xml_node& box : boxes) {
      if (absl::Status status = ReadBlocks(box, depth + 1); !status.ok()) return status;
    }
    return absl::OkStatus();
  }

  void AddParagraph(const std::string& text, const pugi::xml_node& properties, const Style& style) {
    const pugi::xml_node numbering = Child(properties, "numPr");
    std::string list(Attribute(Child(numbering, "numId"), "val"));
    if (list.empty()) list = style.list;
    const bool item = !list.empty() && list != "0";
    if (table_depth_ > 0) {
      if (!cell_empty_) builder_.Add(" ");
      cell_empty_ = false;
    } else {
      builder_.Break(item && in_list_ ? 1 : 2);
    }
    if (item) {
      const int64_t level = NumberAttribute(Child(numbering, "ilvl"), "val", 0);
      std::map<int64_t, int64_t>& counts = counts_[list];
      counts.erase(counts.upper_bound(level), counts.end());
      const int64_t number = ++counts[level];
      builder_.Add(numbered_levels_[list].contains(level) ? absl::StrCat(number, ". ") : std::string("- "));
    }
    in_list_ = item;
    builder_.Add(table_depth_ > 0 ? OneLine(text) : text);
  }

  static std::string OneLine(std::string text) {
    std::replace(text.begin(), text.end(), '\n', ' ');
    return text;
  }

  // The text of a paragraph; text boxes anchored in it come after.
  absl::Status ReadRuns(const pugi::xml_node& parent, int depth, std::string& text) {
    if (depth > limits_.max_nesting) return TooDeep();
    for (const pugi::xml_node& node : parent.children()) {
      const std::string_view name = LocalName(node);
      if (name == "t") {
        text += TextOf(node);
      } else if (name == "tab" && LocalName(parent) == "r") {
        text += '\t';
      } else if (name == "br" || name == "cr") {
        text += '\n';
      } else if (name == "noBreakHyphen") {
        text += '-';
      } else if (name == "txbxContent") {
        boxes_.push_back(node);
      } else if (name == "AlternateContent") {
        // The same thing twice, for new readers and old.
        if (absl::Status status = ReadRuns(Child(node, "Choice"), depth + 1, text); !status.ok()) return status;
      } else if (name != "pPr" && name != "rPr" && name != "del" && name != "moveFrom" && name != "instrText" &&
                 name != "delText" && name != "rt") {
        if (absl::Status status = ReadRuns(node, depth + 1, text); !status.ok()) return status;
      }
    }
    return absl::OkStatus();
  }

  // A row is a line; a cell that another one above or before it covers is empty.
  absl::Status ReadTable(const pugi::xml_node& table, int depth) {
    if (depth > limits_.max_nesting) return TooDeep();
    if (table_depth_ == 0) builder_.Break(2);
    ++table_depth_;
    for (const pugi::xml_node& row : table.children()) {
      if (LocalName(row) != "tr") continue;
      if (table_depth_ == 1) builder_.Break(1);
      bool first = true;
      for (const pugi::xml_node& cell : row.children()) {
        const pugi::xml_node content = LocalName(cell) == "sdt" ? Child(cell, "sdtContent", "tc") : cell;
        if (LocalName(content) != "tc") continue;
        if (!first) builder_.Add(" | ");
        first = false;
        cell_empty_ = true;
        if (absl::Status status = ReadBlocks(content, depth + 1); !status.ok()) return status;
      }
    }
    --table_depth_;
    if (table_depth_ == 0) builder_.Break(2);
    in_list_ = false;
    return absl::OkStatus();
  }

  absl::Status ReadNotes(const char* kind) {
    absl::StatusOr<std::unique_ptr<pugi::xml_document>> xml = RelatedPart(kind);
    if (!xml.ok()) return xml.status();
    if (!*xml) return absl::OkStatus();
    for (const pugi::xml_node& note : Child(**xml, kind).children()) {
      if (!Attribute(note, "type").empty()) continue;  // separators
      if (absl::Status status = ReadBlocks(note, 0); !status.ok()) return status;
    }
    return absl::OkStatus();
  }

  OfficePackage& package_;
  const LoaderLimits& limits_;
  TextBuilder builder_;
  HeadingStack headings_;
  std::map<std::string, Style> styles_;
  std::map<std::string, std::set<int64_t>> numbered_levels_;  // by numId
  std::map<std::string, std::map<int64_t, int64_t>> counts_;  // items so far, by numId and level
  std::vector<pugi::xml_node> boxes_;                         // of the paragraph being read
  std::string title_, first_heading_;
  int table_depth_ = 0;
  bool in_list_ = false;
  bool cell_empty_ = false;
};

}  // namespace

absl::Status LoadDocx(std::string_view bytes, const LoaderLimits& limits, Document& document) {
  absl::StatusOr<std::unique_ptr<OfficePackage>> package = OfficePackage::Open(bytes, "wordprocessingml", limits);
  if (!package.ok()) return package.status();
  return DocxReader(**package, limits).Read(document);
}

}  // namespace blazon::retrieval
