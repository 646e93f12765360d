// Collects a document's text together with the way back to its source.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "retrieval/document.h"

namespace blazon::retrieval {

class TextBuilder {
 public:
  // Bytes that stand in the source at `source_begin`.
  void Append(std::string_view bytes, size_t source_begin) {
    if (bytes.empty()) return;
    if (!runs_.empty() && runs_.back().text_begin + runs_.back().length == text_.size() &&
        runs_.back().source_begin + runs_.back().length == source_begin) {
      runs_.back().length += bytes.size();
    } else {
      runs_.push_back({text_.size(), source_begin, bytes.size()});
    }
    text_ += bytes;
  }
  // Bytes that do not: separators, decoded entities.
  void Add(std::string_view bytes) { text_ += bytes; }
  // What is added next belongs to this byte of the source, where it does not stand itself.
  void Mark(size_t source_begin) { runs_.push_back({text_.size(), source_begin, 0}); }

  // Ends the line, or the paragraph, unless the text is empty or has just ended there.
  void Break(size_t line_breaks) {
    while (!text_.empty() && (text_.back() == ' ' || text_.back() == '\t')) Pop();
    if (text_.empty()) return;
    size_t present = 0;
    while (present < text_.size() && text_[text_.size() - 1 - present] == '\n') ++present;
    for (; present < line_breaks; ++present) text_ += '\n';
  }

  // From text byte `begin` on, which may lie in the last paragraph, the text stands under `headings`.
  void StartSectionAt(size_t begin, std::vector<std::string> headings) {
    sections_.push_back({begin, std::move(headings)});
  }

  const std::string& text() const { return text_; }
  void MoveTo(Document& document) {
    document.text = std::move(text_);
    document.source_map = std::move(runs_);
    document.sections = std::move(sections_);
  }

 private:
  void Pop() {
    text_.pop_back();
    if (!runs_.empty() && runs_.back().text_begin + runs_.back().length > text_.size()) {
      if (runs_.back().length <= 1) {
        runs_.pop_back();
      } else {
        --runs_.back().length;
      }
    }
  }
  std::string text_;
  std::vector<SourceRun> runs_;
  std::vector<Section> sections_;
};

// The headings that stand over what follows, as levels come and go.
class HeadingStack {
 public:
  // A heading of this level ends all of the same or a deeper one; returns the headings from now on.
  std::vector<std::string> Push(int level, std::string text) {
    while (!open_.empty() && open_.back().first >= level) open_.pop_back();
    open_.emplace_back(level, std::move(text));
    std::vector<std::string> path;
    for (const auto& [unused, heading] : open_) path.push_back(heading);
    return path;
  }

 private:
  std::vector<std::pair<int, std::string>> open_;
};

}  // namespace blazon::retrieval
