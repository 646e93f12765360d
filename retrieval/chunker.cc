#include "retrieval/chunker.h"

#include <algorithm>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "retrieval/extractive.h"

namespace blazon::retrieval {
namespace {

// A piece costs at least a token for so many bytes: tokenizers may read a long run as one unknown word.
constexpr size_t kBytesPerToken = 16;

enum Boundary { kInside, kSentence, kLine, kParagraph, kDefinition };

constexpr std::pair<ChunkerKind, std::string_view> kKinds[] = {{ChunkerKind::kRecursive, "recursive"},
                                                               {ChunkerKind::kSentence, "sentence"},
                                                               {ChunkerKind::kHeading, "heading"},
                                                               {ChunkerKind::kPage, "page"},
                                                               {ChunkerKind::kCode, "code"}};

struct Atom {
  Span span;
  Boundary before;
  int64_t cost;
};

bool IsSpace(char c) { return c == ' ' || c == '\n' || c == '\t'; }
bool IsContinuation(char c) { return (static_cast<unsigned char>(c) & 0xc0) == 0x80; }

Span Trim(std::string_view text, Span span) {
  while (span.begin < span.end && IsSpace(text[span.begin])) ++span.begin;
  while (span.end > span.begin && IsSpace(text[span.end - 1])) --span.end;
  return span;
}

class Cutter {
 public:
  Cutter(const Document& document, const Embedder& embedder, const ChunkerOptions& options)
      : text_(document.text),
        document_(document),
        embedder_(embedder),
        options_(options),
        kind_(options.kind == ChunkerKind::kCode && !document.parser.starts_with("source/") ? ChunkerKind::kRecursive
                                                                                            : options.kind),
        limit_(kind_ == ChunkerKind::kHeading || kind_ == ChunkerKind::kPage
                   ? embedder.max_tokens
                   : std::min(options.target_tokens, embedder.max_tokens)),
        controls_(embedder.count_tokens("")) {}

  absl::StatusOr<std::vector<Chunk>> Cut() {
    std::vector<size_t> places;
    for (const Place& place : document_.places) places.push_back(place.begin);
    if (kind_ != ChunkerKind::kPage && kind_ != ChunkerKind::kCode) {
      std::vector<size_t> cuts = places;
      for (const Section& section : document_.sections) cuts.push_back(section.begin);
      if (absl::Status status = CutAt(cuts, true); !status.ok()) return status;
    }
    if (chunks_.empty()) {  // headings alone, or headings like other text
      if (absl::Status status = CutAt(places, false); !status.ok()) return status;
      for (Chunk& chunk : chunks_) chunk.heading_path = HeadingPath(document_.HeadingsAt(chunk.span.begin));
    }
    return std::move(chunks_);
  }

 private:
  absl::Status CutAt(std::vector<size_t> cuts, bool under_headings) {
    cuts.push_back(text_.size());
    std::sort(cuts.begin(), cuts.end());
    size_t begin = 0;
    for (const size_t end : cuts) {
      if (end == begin) continue;
      const Span span{begin, end};
      begin = end;
      static const std::vector<std::string> none;
      const absl::Status status = under_headings ? CutSection(Body(span), document_.HeadingsAt(span.begin))
                                                 : CutSection(Trim(text_, span), none);
      if (!status.ok()) return status;
    }
    return absl::OkStatus();
  }

  // The section without its own heading line.
  Span Body(Span section) const {
    const auto starts = std::lower_bound(document_.sections.begin(), document_.sections.end(), section.begin,
                                         [](const Section& one, size_t begin) { return one.begin < begin; });
    section = Trim(text_, section);
    if (starts == document_.sections.end() || starts->begin > section.begin || !starts->heading_line) return section;
    const std::vector<std::string>& headings = document_.HeadingsAt(section.begin);
    if (!headings.empty() && text_.substr(section.begin, section.size()).starts_with(headings.back())) {
      const size_t line_end = text_.find('\n', section.begin + headings.back().size());
      section.begin = std::min(line_end, section.end);
    }
    return Trim(text_, section);
  }

  int64_t Cost(Span span) const {
    const std::string_view piece = text_.substr(span.begin, span.size());
    return std::max(embedder_.count_tokens(piece) - controls_, static_cast<int64_t>(piece.size() / kBytesPerToken));
  }

  // Halves a piece until each part fits: at a line break or a space in its middle half, else at any character.
  void AddAtoms(Span span, Boundary before, int64_t budget, std::vector<Atom>& atoms) const {
    span = Trim(text_, span);
    if (span.size() == 0) return;
    const int64_t cost = Cost(span);
    size_t middle = span.begin + span.size() / 2;
    while (middle > span.begin && IsContinuation(text_[middle])) --middle;
    if (cost <= budget || middle == span.begin) {
      atoms.push_back({span, before, cost});
      return;
    }
    const size_t quarter = std::min(span.size() / 4, middle - span.begin);
    const std::string_view before_middle = text_.substr(span.begin + quarter, middle - (span.begin + quarter));
    const std::string_view after_middle = text_.substr(middle, span.end - quarter - middle);
    for (const char separator : {'\n', ' ', '\t'}) {
      const size_t left_at = before_middle.rfind(separator), right_at = after_middle.find(separator);
      const bool left_near = left_at != std::string_view::npos, right_near = right_at != std::string_view::npos;
      if (!left_near && !right_near) continue;
      const size_t left = span.begin + quarter + left_at, right = middle + right_at;
      middle = left_near && (!right_near || middle - left <= right - middle) ? left : right;
      break;
    }
    AddAtoms({span.begin, middle}, before, budget, atoms);
    AddAtoms({middle, span.end}, kInside, budget, atoms);
  }

  std::string HeadingPath(const std::vector<std::string>& headings) const {
    const bool titled = !headings.empty() && headings.front() == document_.title;
    return absl::StrJoin(headings.begin() + (titled ? 1 : 0), headings.end(), " > ");
  }

  // The parts of a section that chunks begin and end with, in bytes from its begin: lines of programs, else sentences.
  std::vector<Span> Parts(std::string_view body) const {
    if (kind_ != ChunkerKind::kCode) return SplitSentences(body);
    std::vector<Span> lines;
    for (size_t begin = 0; begin < body.size();) {
      const size_t end = std::min(body.find('\n', begin), body.size());
      lines.push_back({begin, end});
      begin = end + 1;
    }
    return lines;
  }

  // What stands before a part; gap: the white space between it and the part before.
  Boundary BoundaryBefore(size_t begin, std::string_view gap) const {
    if (kind_ == ChunkerKind::kSentence) return kSentence;
    if (kind_ == ChunkerKind::kCode &&
        std::any_of(document_.sections.begin(), document_.sections.end(), [&](const Section& section) {
          return section.begin + gap.size() >= begin && section.begin <= begin;
        }))
      return kDefinition;
    const auto breaks = std::count(gap.begin(), gap.end(), '\n');
    return breaks > 1 ? kParagraph : breaks == 1 ? kLine : kSentence;
  }

  absl::Status CutSection(Span section, const std::vector<std::string>& headings) {
    const std::string heading_path = HeadingPath(headings);
    const std::string prefix = ChunkPrefix(document_.title, heading_path, limit_, embedder_);
    const int64_t budget = std::max<int64_t>(1, limit_ - (prefix.empty() ? controls_ : embedder_.count_tokens(prefix)));

    std::vector<Atom> atoms;
    const std::string_view body = text_.substr(section.begin, section.size());
    for (const Span& part : Parts(body)) {
      const Span span{section.begin + part.begin, section.begin + part.end};
      const std::string_view gap =
          atoms.empty() ? "" : text_.substr(atoms.back().span.end, span.begin - atoms.back().span.end);
      AddAtoms(span, BoundaryBefore(span.begin, gap), budget, atoms);
    }

    size_t first = 0;    // of the chunk being made
    size_t covered = 0;  // atoms before this one are in some chunk
    while (covered < atoms.size()) {
      // Overlap gives way when it would keep the next atom out.
      int64_t cost = 0;
      for (size_t i = first; i <= covered; ++i) cost += atoms[i].cost;
      while (first < covered && cost > budget) cost -= atoms[first++].cost;
      size_t end = covered + 1;
      while (end < atoms.size() && cost + atoms[end].cost <= budget) cost += atoms[end++].cost;
      if (end < atoms.size()) end = BestBreak(atoms, first, covered, end, budget);
      // Costs of parts need not add up to the cost of the whole.
      while (Tokens(prefix, atoms, first, end) > limit_) {
        if (end > covered + 1) {
          --end;
        } else if (first < covered) {
          ++first;
        } else {
          std::vector<Atom> halves;
          AddAtoms(atoms[first].span, atoms[first].before, atoms[first].cost / 2, halves);
          if (halves.size() < 2)
            return absl::InvalidArgumentError(absl::StrCat(
                document_.path, ": one character takes more tokens than a chunk may have; raise target_tokens"));
          atoms.erase(atoms.begin() + static_cast<ptrdiff_t>(first));
          atoms.insert(atoms.begin() + static_cast<ptrdiff_t>(first), halves.begin(), halves.end());
          end = first + 1;
        }
      }
      chunks_.push_back({{atoms[first].span.begin, atoms[end - 1].span.end}, heading_path, prefix});
      const int64_t allowed = static_cast<int64_t>(options_.overlap * static_cast<double>(budget));
      int64_t repeated = 0;
      size_t next = end;
      while (next > first + 1 && repeated + atoms[next - 1].cost <= allowed) repeated += atoms[--next].cost;
      first = next;
      covered = end;
    }
    return absl::OkStatus();
  }

  // The last of the coarsest boundaries that leave the chunk at least half full.
  size_t BestBreak(const std::vector<Atom>& atoms, size_t first, size_t covered, size_t end, int64_t budget) const {
    int64_t cost = 0;
    for (size_t i = first; i < end; ++i) cost += atoms[i].cost;
    size_t best = end;
    Boundary boundary = atoms[end].before;
    for (size_t at = end - 1; at > covered; --at) {
      cost -= atoms[at].cost;
      if (cost * 2 < budget) break;
      if (atoms[at].before > boundary) {
        best = at;
        boundary = atoms[at].before;
      }
    }
    return best;
  }

  int64_t Tokens(const std::string& prefix, const std::vector<Atom>& atoms, size_t first, size_t end) const {
    const Span span{atoms[first].span.begin, atoms[end - 1].span.end};
    return embedder_.count_tokens(prefix + std::string(text_.substr(span.begin, span.size())));
  }

  const std::string_view text_;
  const Document& document_;
  const Embedder& embedder_;
  const ChunkerOptions& options_;
  const ChunkerKind kind_;
  const int64_t limit_;
  const int64_t controls_;
  std::vector<Chunk> chunks_;
};

}  // namespace

std::string_view ChunkerKindName(ChunkerKind kind) {
  for (const auto& [known, name] : kKinds) {
    if (known == kind) return name;
  }
  return "";
}

std::optional<ChunkerKind> ParseChunkerKind(std::string_view name) {
  for (const auto& [kind, known] : kKinds) {
    if (known == name) return kind;
  }
  return std::nullopt;
}

std::string ChunkPrefix(const std::string& title, const std::string& heading_path, int64_t limit,
                        const Embedder& embedder) {
  std::vector<std::string> lines;
  if (!title.empty()) lines.push_back(title);
  if (!heading_path.empty() && heading_path != title) lines.push_back(heading_path);
  std::string prefix = absl::StrJoin(lines, "\n");
  while (!prefix.empty() && (embedder.count_tokens(prefix) > limit / 2 ||
                             prefix.size() > static_cast<size_t>(limit) * kBytesPerToken / 2)) {
    size_t end = prefix.size() / 2;
    while (end > 0 && IsContinuation(prefix[end])) --end;
    prefix.resize(end);
    if (const size_t word = prefix.find_last_of(" \n"); word != std::string::npos) prefix.resize(word);
  }
  return prefix.empty() ? prefix : prefix + "\n";
}

absl::StatusOr<std::vector<Chunk>> ChunkDocument(const Document& document, const Embedder& embedder,
                                                 const ChunkerOptions& options) {
  if (options.target_tokens < 16 || options.target_tokens > embedder.max_tokens) {
    return absl::InvalidArgumentError(absl::StrCat("target_tokens is ", options.target_tokens, "; it must be 16 to ",
                                                   embedder.max_tokens, ", what the embedder reads"));
  }
  if (!(options.overlap >= 0 && options.overlap <= 0.5)) return absl::InvalidArgumentError("overlap must be 0 to 0.5");
  return Cutter(document, embedder, options).Cut();
}

std::string ChunkerVersion(const ChunkerOptions& options) {
  return absl::StrCat(std::string(ChunkerKindName(options.kind)), "/1 ", options.target_tokens, " ", options.overlap);
}

}  // namespace blazon::retrieval
