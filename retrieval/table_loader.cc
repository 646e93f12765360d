// CSV and TSV (RFC 4180): a row is a record with its column names.
#include <algorithm>
#include <array>

#include "absl/strings/str_cat.h"
#include "retrieval/format_loaders.h"
#include "retrieval/table_text.h"

namespace blazon::retrieval {
namespace {

constexpr size_t kMostColumns = 16384;  // as many as a spreadsheet has
constexpr size_t kRowsToJudge = 50;

// Reads records of a table; quotes around a field keep separators and line breaks in it, "" is a quote.
class RowReader {
 public:
  RowReader(std::string_view source, char separator) : source_(source), separator_(separator) {}

  bool AtEnd() const { return at_ >= source_.size(); }

  std::vector<TableText::Cell> Next() {
    std::vector<TableText::Cell> row;
    while (true) {
      row.push_back(Field());
      if (AtEnd()) break;
      const char c = source_[at_++];
      if (c == '\n') break;
      if (row.size() > kMostColumns) break;  // the caller refuses it
      if (AtEnd()) {                         // a separator ends the file
        row.push_back({"", at_});
        break;
      }
    }
    return row;
  }

 private:
  // Up to the separator or line end that follows it.
  TableText::Cell Field() {
    const size_t begin = at_;
    if (AtEnd() || source_[at_] != '"') {
      while (!AtEnd() && source_[at_] != separator_ && source_[at_] != '\n') ++at_;
      return {std::string(source_.substr(begin, at_ - begin)), begin};
    }
    TableText::Cell cell{"", begin + 1};
    ++at_;
    while (!AtEnd()) {
      const size_t quote = std::min(source_.find('"', at_), source_.size());
      cell.text += source_.substr(at_, quote - at_);
      at_ = quote;
      if (AtEnd()) break;  // it never closes: the rest is the field
      ++at_;
      if (AtEnd() || source_[at_] != '"') break;
      cell.text += '"';
      cell.source_begin.reset();
      ++at_;
    }
    while (!AtEnd() && source_[at_] != separator_ && source_[at_] != '\n') {  // what stands behind the quote
      cell.text += source_[at_++];
      cell.source_begin.reset();
    }
    return cell;
  }

  const std::string_view source_;
  const char separator_;
  size_t at_ = 0;
};

// The separator that cuts the first rows into the same number of columns, two or more; the one that makes most columns
// when several do. A comma when none does.
char Separator(std::string_view source) {
  char best = ',';
  double best_score = 0;
  for (const char separator : {',', '\t', ';', '|'}) {
    RowReader reader(source, separator);
    std::vector<size_t> columns;
    while (!reader.AtEnd() && columns.size() < kRowsToJudge) {
      const size_t count = reader.Next().size();
      if (count > kMostColumns) break;
      columns.push_back(count);
    }
    if (columns.empty()) continue;
    std::sort(columns.begin(), columns.end());
    const size_t usual = columns[columns.size() / 2];
    if (usual < 2) continue;
    const auto agreeing = std::count(columns.begin(), columns.end(), usual);
    const double share = static_cast<double>(agreeing) / static_cast<double>(columns.size());
    const double score = share * share * static_cast<double>(std::min<size_t>(usual, 100));
    if (score > best_score) {
      best_score = score;
      best = separator;
    }
  }
  return best;
}

}  // namespace

absl::Status LoadTable(std::string_view source, const LoaderLimits& limits, Document& document) {
  RowReader reader(source, Separator(source));
  TextBuilder builder;
  TableText table(builder, limits);
  while (!reader.AtEnd()) {
    std::vector<TableText::Cell> row = reader.Next();
    if (row.size() > kMostColumns)
      return absl::InvalidArgumentError(absl::StrCat("it has a row of more than ", kMostColumns, " columns"));
    if (absl::Status status = table.Add(std::move(row)); !status.ok()) return status;
  }
  if (absl::Status status = table.Finish(); !status.ok()) return status;
  builder.MoveTo(document);
  return absl::OkStatus();
}

}  // namespace blazon::retrieval
