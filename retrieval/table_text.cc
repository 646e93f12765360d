#include "retrieval/table_text.h"

#include <algorithm>
#include <set>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "retrieval/words.h"

namespace blazon::retrieval {
namespace {

bool IsEmpty(const TableText::Cell& cell) { return StripWhitespace(cell.text).empty(); }

bool AreNames(const std::vector<TableText::Cell>& row) {
  if (row.size() < 2) return false;
  std::set<std::string_view> seen;
  return std::all_of(row.begin(), row.end(), [&](const TableText::Cell& cell) {
    double number = 0;
    return !IsEmpty(cell) && !absl::SimpleAtod(cell.text, &number) && seen.insert(StripWhitespace(cell.text)).second;
  });
}

std::string OneLine(std::string_view text) {
  std::string line(StripWhitespace(text));
  std::replace(line.begin(), line.end(), '\n', ' ');
  return line;
}

}  // namespace

absl::Status TableText::Add(std::vector<Cell> row) {
  while (!row.empty() && IsEmpty(row.back())) row.pop_back();
  if (row.empty()) return absl::OkStatus();
  if (decided_) return Write(row);
  if (!first_) {
    first_ = std::move(row);
    return absl::OkStatus();
  }
  decided_ = true;
  const std::vector<Cell> first = *std::exchange(first_, std::nullopt);
  if (AreNames(first)) {
    for (const Cell& cell : first) names_.push_back(OneLine(cell.text));
  } else if (absl::Status status = Write(first); !status.ok()) {
    return status;
  }
  return Write(row);
}

absl::Status TableText::Finish() {
  if (!first_) return absl::OkStatus();
  decided_ = true;
  return Write(*std::exchange(first_, std::nullopt));
}

absl::Status TableText::Write(const std::vector<Cell>& row) {
  bool first = true;
  for (size_t i = 0; i < row.size(); ++i) {
    const Cell& cell = row[i];
    if (IsEmpty(cell)) {
      if (names_.empty() && !first) builder_.Add(" | ");  // keeps the columns apart
      continue;
    }
    if (!first) builder_.Add(" | ");
    first = false;
    if (cell.source_begin) builder_.Mark(*cell.source_begin);
    if (i < names_.size()) builder_.Add(absl::StrCat(names_[i], ": "));
    const std::string_view text = StripWhitespace(cell.text);
    if (cell.source_begin && text.find('\n') == std::string_view::npos) {
      builder_.Append(text, *cell.source_begin + static_cast<size_t>(text.data() - cell.text.data()));
    } else {
      builder_.Add(OneLine(text));
    }
  }
  builder_.Break(1);
  if (builder_.text().size() > limits_.max_text_bytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("its rows make more than the ", limits_.max_text_bytes, " bytes of text that are allowed"));
  }
  return absl::OkStatus();
}

}  // namespace blazon::retrieval
