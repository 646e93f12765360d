#include "service/training/csv.h"

#include <cstdint>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace blazon::service {

absl::StatusOr<std::vector<std::vector<std::string>>> ParseCsv(const std::string& text) {
  std::vector<std::vector<std::string>> rows;
  std::vector<std::string> row;
  std::string cell;
  bool quoted = false, was_quoted = false;
  int64_t line = 1;
  const auto end_cell = [&] {
    row.push_back(std::exchange(cell, ""));
    was_quoted = false;
  };
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (c == '\n') ++line;
    if (quoted) {
      if (c != '"') {
        cell += c;
      } else if (i + 1 < text.size() && text[i + 1] == '"') {
        cell += text[++i];
      } else {
        quoted = false;
      }
    } else if (c == '"') {
      if (!cell.empty() || was_quoted)
        return absl::InvalidArgumentError(absl::StrCat("line ", line, ": a quote stands within a field"));
      quoted = was_quoted = true;
    } else if (c == ',') {
      end_cell();
    } else if (c == '\n' || c == '\r') {
      if (c == '\r' && i + 1 < text.size() && text[i + 1] == '\n') continue;
      end_cell();
      if (row.size() > 1 || !row[0].empty()) rows.push_back(std::move(row));
      row.clear();
    } else {
      cell += c;
    }
  }
  if (quoted) return absl::InvalidArgumentError("a quoted field does not end");
  if (!cell.empty() || !row.empty()) {
    end_cell();
    rows.push_back(std::move(row));
  }
  return rows;
}

}  // namespace blazon::service
