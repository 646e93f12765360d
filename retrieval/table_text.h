// Rows of a table to lines of text: "name: Widget | price: 4" under column names, "Widget | 4" without.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "retrieval/document_loader.h"
#include "retrieval/text_builder.h"

namespace blazon::retrieval {

class TableText {
 public:
  struct Cell {
    std::string text;
    // Where the text stands in the source, byte for byte; nullopt when it was put together.
    std::optional<size_t> source_begin;
  };

  TableText(TextBuilder& builder, const LoaderLimits& limits) : builder_(builder), limits_(limits) {}

  // Rows in order. The first is taken for column names when another follows, it has two or more cells, none is empty or
  // a number, and no two are equal. kInvalidArgument: over limits.max_text_bytes.
  absl::Status Add(std::vector<Cell> row);
  // After the last row.
  absl::Status Finish();

 private:
  absl::Status Write(const std::vector<Cell>& row);

  TextBuilder& builder_;
  const LoaderLimits& limits_;
  std::optional<std::vector<Cell>> first_;  // the first row, until there is a second
  bool decided_ = false;
  std::vector<std::string> names_;
};

}  // namespace blazon::retrieval
