// XLSX (SpreadsheetML, ECMA-376 part 1 section 18): a sheet is a place; rows as table_text.h writes them; dates and
// times by the number format of their cell.
#include <charconv>
#include <cmath>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/civil_time.h"
#include "retrieval/format_loaders.h"
#include "retrieval/office_package.h"
#include "retrieval/table_text.h"
#include "retrieval/text_decoder.h"
#include "retrieval/words.h"
#include "retrieval/xml.h"

namespace blazon::retrieval {
namespace {

constexpr int64_t kSheetColumns = 16384;  // of a sheet

// The text of a string item: its runs without phonetic ones.
std::string StringText(const pugi::xml_node& item) {
  std::string text;
  for (const pugi::xml_node& node : item.children()) {
    if (LocalName(node) == "t") text += TextOf(node);
    if (LocalName(node) == "r") text += TextOf(Child(node, "t"));
  }
  return ToCleanUtf8(text);
}

enum class NumberKind { kPlain, kDate, kTime, kDateTime };

// By the letters of a format code outside quotes, brackets and escapes (18.8.30, 18.8.31).
NumberKind KindOfFormat(std::string_view code) {
  bool date = false, time = false;
  for (size_t i = 0; i < code.size(); ++i) {
    switch (code[i]) {
      case '"':
        i = std::min(code.find('"', i + 1), code.size());
        break;
      case '[': {
        const size_t end = std::min(code.find(']', i), code.size());
        if (code.substr(i, 2) == "[h" || code.substr(i, 2) == "[m" || code.substr(i, 2) == "[s") time = true;
        i = end;
        break;
      }
      case '\\':
      case '_':
      case '*':
        ++i;
        break;
      case 'y':
      case 'Y':
      case 'd':
      case 'D':
        date = true;
        break;
      case 'h':
      case 'H':
      case 's':
      case 'S':
        time = true;
        break;
      case ';':
        i = code.size();
        break;
      case 'G':  // General, and eras
        return NumberKind::kPlain;
      default:
        break;
    }
  }
  return date && time ? NumberKind::kDateTime
         : date       ? NumberKind::kDate
         : time       ? NumberKind::kTime
                      : NumberKind::kPlain;
}

NumberKind KindOfBuiltIn(int64_t id) {
  if (id >= 14 && id <= 17) return NumberKind::kDate;
  if ((id >= 18 && id <= 21) || (id >= 45 && id <= 47)) return NumberKind::kTime;
  return id == 22 ? NumberKind::kDateTime : NumberKind::kPlain;
}

// Shortest text that Excel shows: 15 digits.
std::string NumberText(double number) {
  char buffer[32];
  const auto result = std::to_chars(buffer, buffer + sizeof buffer, number, std::chars_format::general, 15);
  return std::string(buffer, result.ptr);
}

class XlsxReader {
 public:
  XlsxReader(OfficePackage& package, const LoaderLimits& limits) : package_(package), limits_(limits) {}

  absl::Status Read(Document& document) {
    if (absl::Status status = package_.ReadProperties(document); !status.ok()) return status;
    if (absl::Status status = ReadStrings(); !status.ok()) return status;
    if (absl::Status status = ReadStyles(); !status.ok()) return status;
    absl::StatusOr<std::unique_ptr<pugi::xml_document>> main = package_.Part(package_.main_part());
    if (!main.ok()) return main.status();
    absl::StatusOr<std::map<std::string, OfficePackage::Relationship>> parts =
        package_.Relationships(package_.main_part());
    if (!parts.ok()) return parts.status();
    const pugi::xml_node workbook = Child(**main, "workbook");
    const std::string_view since_1904 = Attribute(Child(workbook, "workbookPr"), "date1904");
    since_1904_ = since_1904 == "1" || since_1904 == "true";
    int number = 0;
    for (const pugi::xml_node& sheet : Child(workbook, "sheets").children()) {
      if (LocalName(sheet) != "sheet") continue;
      const auto part = parts->find(std::string(Attribute(sheet, "id")));
      if (part == parts->end() || part->second.type != "worksheet") continue;  // a chart
      if (++number > limits_.max_pages)
        return absl::InvalidArgumentError(absl::StrCat("it has more than ", limits_.max_pages, " sheets"));
      const std::string name = ToCleanUtf8(Attribute(sheet, "name"));
      builder_.Break(2);
      const size_t begin = builder_.text().size();
      document.places.push_back({begin, absl::StrCat("sheet=", name)});
      builder_.StartSectionAt(begin, {name});
      if (absl::Status status = ReadSheet(part->second.target); !status.ok()) return status;
    }
    builder_.Break(1);
    builder_.MoveTo(document);
    for (Section& section : document.sections) section.heading_line = false;
    return absl::OkStatus();
  }

 private:
  absl::Status ReadStrings() {
    absl::StatusOr<std::string> name = package_.Related(package_.main_part(), "sharedStrings");
    if (!name.ok()) return name.status();
    if (name->empty()) return absl::OkStatus();
    absl::StatusOr<std::unique_ptr<pugi::xml_document>> xml = package_.OptionalPart(*name);
    if (!xml.ok()) return xml.status();
    if (!*xml) return absl::OkStatus();
    for (const pugi::xml_node& item : Child(**xml, "sst").children()) {
      if (LocalName(item) == "si") strings_.push_back(StringText(item));
    }
    return absl::OkStatus();
  }

  absl::Status ReadStyles() {
    absl::StatusOr<std::string> name = package_.Related(package_.main_part(), "styles");
    if (!name.ok()) return name.status();
    if (name->empty()) return absl::OkStatus();
    absl::StatusOr<std::unique_ptr<pugi::xml_document>> xml = package_.OptionalPart(*name);
    if (!xml.ok()) return xml.status();
    if (!*xml) return absl::OkStatus();
    const pugi::xml_node sheet = Child(**xml, "styleSheet");
    std::map<int64_t, NumberKind> custom;
    for (const pugi::xml_node& format : Child(sheet, "numFmts").children())
      custom[NumberAttribute(format, "numFmtId", -1)] = KindOfFormat(Attribute(format, "formatCode"));
    for (const pugi::xml_node& format : Child(sheet, "cellXfs").children()) {
      if (LocalName(format) != "xf") continue;
      const int64_t id = NumberAttribute(format, "numFmtId", 0);
      const auto found = custom.find(id);
      styles_.push_back(found == custom.end() ? KindOfBuiltIn(id) : found->second);
    }
    return absl::OkStatus();
  }

  absl::Status ReadSheet(const std::string& part) {
    absl::StatusOr<std::unique_ptr<pugi::xml_document>> xml = package_.Part(part);
    if (!xml.ok()) return xml.status();
    TableText table(builder_, limits_);
    for (const pugi::xml_node& row : Child(**xml, "worksheet", "sheetData").children()) {
      if (LocalName(row) != "row") continue;
      std::vector<TableText::Cell> cells;
      size_t row_bytes = 0;  // many cells may name the same long string
      for (const pugi::xml_node& cell : row.children()) {
        if (LocalName(cell) != "c") continue;
        const int64_t column = Column(Attribute(cell, "r"), static_cast<int64_t>(cells.size()));
        if (column >= kSheetColumns)
          return absl::InvalidArgumentError(absl::StrCat("it has a row of more than ", kSheetColumns, " columns"));
        std::string text = CellText(cell);
        if (text.empty()) continue;
        row_bytes += text.size();
        if (row_bytes > limits_.max_text_bytes) {
          return absl::InvalidArgumentError(absl::StrCat("a row of it holds more than the ", limits_.max_text_bytes,
                                                         " bytes of text that are allowed"));
        }
        if (static_cast<size_t>(column) >= cells.size()) cells.resize(static_cast<size_t>(column) + 1);
        cells[static_cast<size_t>(column)].text = std::move(text);
      }
      if (absl::Status status = table.Add(std::move(cells)); !status.ok()) return status;
    }
    return table.Finish();
  }

  // "BC12" is column 54; `otherwise` when there is no reference.
  static int64_t Column(std::string_view reference, int64_t otherwise) {
    int64_t column = 0;
    for (const char c : reference) {
      if (c < 'A' || c > 'Z') break;
      column = column * 26 + (c - 'A' + 1);
      if (column > kSheetColumns) return kSheetColumns;
    }
    return column == 0 ? otherwise : column - 1;
  }

  std::string CellText(const pugi::xml_node& cell) const {
    const std::string_view type = Attribute(cell, "t");
    if (type == "inlineStr") return StringText(Child(cell, "is"));
    const std::string value(TextOf(Child(cell, "v")));
    if (type == "s") {
      size_t index = 0;
      return absl::SimpleAtoi(value, &index) && index < strings_.size() ? strings_[index] : "";
    }
    if (type == "str" || type == "d") return ToCleanUtf8(value);
    if (type == "b") return value == "1" ? "TRUE" : "FALSE";
    if (type == "e") return "";
    double number = 0;
    if (value.empty() || !absl::SimpleAtod(value, &number) || !std::isfinite(number)) return ToCleanUtf8(value);
    const int64_t style = NumberAttribute(cell, "s", 0);
    const bool known = style >= 0 && static_cast<size_t>(style) < styles_.size();
    return Formatted(number, known ? styles_[static_cast<size_t>(style)] : NumberKind::kPlain);
  }

  // Days since 1899-12-30 (of 1900, Excel has a 29 February) or 1904-01-01.
  std::string Formatted(double number, NumberKind kind) const {
    if (kind == NumberKind::kPlain || number < 0 || number > 2958466) return NumberText(number);  // the year 9999
    const auto seconds = static_cast<int64_t>(std::llround(number * 86400));
    absl::CivilSecond time = absl::CivilSecond(since_1904_ ? absl::CivilDay(1904, 1, 1) : absl::CivilDay(1899, 12, 30));
    if (!since_1904_ && number < 60) time += 86400;
    time += seconds;
    const std::string date = absl::StrFormat("%04d-%02d-%02d", time.year(), time.month(), time.day());
    const std::string clock = time.second() == 0
                                  ? absl::StrFormat("%02d:%02d", time.hour(), time.minute())
                                  : absl::StrFormat("%02d:%02d:%02d", time.hour(), time.minute(), time.second());
    if (kind == NumberKind::kTime) {
      return number < 1
                 ? clock
                 : absl::StrFormat("%d:%02d:%02d", seconds / 3600, seconds / 60 % 60, seconds % 60);  // a duration
    }
    return kind == NumberKind::kDate ? date : absl::StrCat(date, " ", clock);
  }

  OfficePackage& package_;
  const LoaderLimits& limits_;
  TextBuilder builder_;
  std::vector<std::string> strings_;
  std::vector<NumberKind> styles_;  // by index of cellXfs
  bool since_1904_ = false;
};

}  // namespace

absl::Status LoadXlsx(std::string_view bytes, const LoaderLimits& limits, Document& document) {
  absl::StatusOr<std::unique_ptr<OfficePackage>> package = OfficePackage::Open(bytes, "spreadsheetml", limits);
  if (!package.ok()) return package.status();
  return XlsxReader(**package, limits).Read(document);
}

}  // namespace blazon::retrieval
