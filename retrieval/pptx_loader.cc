// PPTX (PresentationML and DrawingML, ECMA-376 part 1 sections 19 and 21): a slide is a place; its notes follow it.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "retrieval/format_loaders.h"
#include "retrieval/office_package.h"
#include "retrieval/text_builder.h"
#include "retrieval/text_decoder.h"
#include "retrieval/words.h"
#include "retrieval/xml.h"

namespace blazon::retrieval {
namespace {

class PptxReader {
 public:
  PptxReader(OfficePackage& package, const LoaderLimits& limits) : package_(package), limits_(limits) {}

  absl::Status Read(Document& document) {
    if (absl::Status status = package_.ReadProperties(document); !status.ok()) return status;
    if (document.title == "PowerPoint Presentation") document.title.clear();
    absl::StatusOr<std::unique_ptr<pugi::xml_document>> main = package_.Part(package_.main_part());
    if (!main.ok()) return main.status();
    absl::StatusOr<std::map<std::string, OfficePackage::Relationship>> parts =
        package_.Relationships(package_.main_part());
    if (!parts.ok()) return parts.status();
    int number = 0;
    for (const pugi::xml_node& id : Child(**main, "presentation", "sldIdLst").children()) {
      const auto slide = parts->find(RelationshipId(id));
      if (slide == parts->end()) continue;
      if (++number > limits_.max_pages)
        return absl::InvalidArgumentError(absl::StrCat("it has more than ", limits_.max_pages, " slides"));
      builder_.Break(2);
      document.places.push_back({builder_.text().size(), absl::StrCat("slide=", number)});
      if (absl::Status status = ReadSlide(slide->second.target, number); !status.ok()) return status;
      if (builder_.text().size() > limits_.max_text_bytes) break;  // the caller refuses it
    }
    builder_.Break(1);
    builder_.MoveTo(document);
    if (document.title.empty()) document.title = first_title_;
    return absl::OkStatus();
  }

 private:
  // Of "id" and "r:id" the second.
  static std::string RelationshipId(const pugi::xml_node& node) {
    for (const pugi::xml_attribute& attribute : node.attributes()) {
      const std::string_view name = attribute.name();
      if (name.ends_with(":id")) return attribute.value();
    }
    return "";
  }

  absl::Status ReadSlide(const std::string& part, int number) {
    absl::StatusOr<std::unique_ptr<pugi::xml_document>> slide = package_.Part(part);
    if (!slide.ok()) return slide.status();
    const size_t begin = builder_.text().size();
    title_.clear();
    if (absl::Status status = ReadShapes(Child(**slide, "sld", "cSld", "spTree"), false, 0); !status.ok())
      return status;
    if (!title_.empty()) {
      if (first_title_.empty()) first_title_ = title_;
      builder_.StartSectionAt(begin, {title_});
    } else if (number > 1) {
      builder_.StartSectionAt(begin, {});
    }
    absl::StatusOr<std::string> notes = package_.Related(part, "notesSlide");
    if (!notes.ok()) return notes.status();
    if (notes->empty()) return absl::OkStatus();
    absl::StatusOr<std::unique_ptr<pugi::xml_document>> page = package_.OptionalPart(*notes);
    if (!page.ok()) return page.status();
    return *page ? ReadShapes(Child(**page, "notes", "cSld", "spTree"), true, 0) : absl::OkStatus();
  }

  // The texts of shapes, the title first. Of notes only the body.
  absl::Status ReadShapes(const pugi::xml_node& tree, bool notes, int depth) {
    if (depth > limits_.max_nesting)
      return absl::InvalidArgumentError(absl::StrCat("its shapes are nested deeper than ", limits_.max_nesting));
    for (const bool titles : {true, false}) {
      for (const pugi::xml_node& node : tree.children()) {
        const std::string_view name = LocalName(node);
        absl::Status status;
        if (name == "sp") {
          const pugi::xml_node placeholder = Child(node, "nvSpPr", "nvPr", "ph");
          const std::string_view kind = Attribute(placeholder, "type");
          const bool is_title = depth == 0 && (kind == "title" || kind == "ctrTitle");
          if (is_title != titles || kind == "sldNum" || kind == "dt" || kind == "ftr" || (notes && kind != "body"))
            continue;
          std::string text;
          status = ReadParagraphs(Child(node, "txBody"), depth, text);
          text = ToCleanUtf8(StripWhitespace(text));
          if (is_title) {
            std::replace(text.begin(), text.end(), '\n', ' ');
            if (title_.empty()) title_ = text;
          }
          if (!text.empty()) {
            builder_.Break(2);
            builder_.Add(notes ? absl::StrCat("Notes: ", text) : text);
            builder_.Break(2);
          }
        } else if (titles || notes) {
          continue;
        } else if (name == "grpSp") {
          status = ReadShapes(node, notes, depth + 1);
        } else if (name == "graphicFrame") {
          status = ReadTable(Child(node, "graphic", "graphicData", "tbl"), depth);
        }
        if (!status.ok()) return status;
      }
    }
    return absl::OkStatus();
  }

  // Paragraphs, a line each.
  absl::Status ReadParagraphs(const pugi::xml_node& body, int depth, std::string& text) {
    for (const pugi::xml_node& paragraph : body.children()) {
      if (LocalName(paragraph) != "p") continue;
      for (const pugi::xml_node& run : paragraph.children()) {
        const std::string_view name = LocalName(run);
        if (name == "r" || name == "fld") text += TextOf(Child(run, "t"));
        if (name == "br") text += '\n';
      }
      text += '\n';
    }
    return absl::OkStatus();
  }

  absl::Status ReadTable(const pugi::xml_node& table, int depth) {
    builder_.Break(2);
    for (const pugi::xml_node& row : table.children()) {
      if (LocalName(row) != "tr") continue;
      bool first = true;
      for (const pugi::xml_node& cell : row.children()) {
        if (LocalName(cell) != "tc") continue;
        std::string text;
        if (absl::Status status = ReadParagraphs(Child(cell, "txBody"), depth, text); !status.ok()) return status;
        text = ToCleanUtf8(StripWhitespace(text));
        std::replace(text.begin(), text.end(), '\n', ' ');
        if (!first) builder_.Add(" | ");
        first = false;
        builder_.Add(text);
      }
      builder_.Break(1);
    }
    builder_.Break(2);
    return absl::OkStatus();
  }

  OfficePackage& package_;
  const LoaderLimits& limits_;
  TextBuilder builder_;
  std::string title_, first_title_;
};

}  // namespace

absl::Status LoadPptx(std::string_view bytes, const LoaderLimits& limits, Document& document) {
  absl::StatusOr<std::unique_ptr<OfficePackage>> package = OfficePackage::Open(bytes, "presentationml", limits);
  if (!package.ok()) return package.status();
  return PptxReader(**package, limits).Read(document);
}

}  // namespace blazon::retrieval
