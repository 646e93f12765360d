#include "retrieval/hnsw_graph.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <queue>

namespace blazon::retrieval {
namespace {

constexpr int kMaxLinks = 64;
constexpr int kMaxLevel = 30;
// Where less than this share of the rows is allowed, a walk goes from allowed row to allowed row, through those between
// them (after Patel, Kraft, Guestrin and Zaharia 2024, arXiv 2403.04871); with less than the second it loses its way.
constexpr double kFewShare = 0.4, kLeastShare = 0.03;
constexpr int64_t kFewStep = 24;   // rows that such a step looks for
constexpr int64_t kFewEffort = 3;  // allowed rows are less well linked
constexpr double kRowsOfOneFewStep = 240;
constexpr double kRowsOfOneStep = 60;  // a step computes some 12 products, of rows anywhere in the memory

// A uniform number of [0, 1) that belongs to a row (the finaliser of SplitMix64).
double Uniform(int32_t row) {
  uint64_t x = (static_cast<uint64_t>(row) + 1) * 0x9e3779b97f4a7c15u;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  x ^= x >> 31;
  return static_cast<double>(x >> 11) * 0x1p-53;
}

bool Allowed(const uint8_t* allowed, int32_t row) { return !allowed || (allowed[row / 8] >> row % 8 & 1); }

}  // namespace

int32_t* HnswGraph::LinkBlock(int32_t row, int layer) {
  const size_t r = static_cast<size_t>(row);
  return layer == 0 ? lowest_.data() + r * static_cast<size_t>(1 + 2 * links_)
                    : upper_.data() + upper_begin_[r] + (layer - 1) * (1 + links_);
}

absl::Span<const int32_t> HnswGraph::Links(int32_t row, int layer) const {
  const int32_t* block = LinkBlock(row, layer);
  return {block + 1, static_cast<size_t>(block[0])};
}

int64_t HnswGraph::bytes() const {
  return static_cast<int64_t>(levels_.size() + 4 * (lowest_.size() + upper_begin_.size() + upper_.size()));
}

std::unique_ptr<HnswGraph::Visited> HnswGraph::TakeVisited() const {
  std::unique_ptr<Visited> visited;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (!visited_.empty()) {
      visited = std::move(visited_.back());
      visited_.pop_back();
    }
  }
  if (!visited) visited = std::make_unique<Visited>();
  if (visited->marks.size() != levels_.size() || ++visited->round == 0) {
    visited->marks.assign(levels_.size(), 0);
    visited->round = 1;
  }
  return visited;
}

void HnswGraph::GiveVisited(std::unique_ptr<Visited> visited) const {
  const std::lock_guard<std::mutex> lock(mutex_);
  visited_.push_back(std::move(visited));
}

template <typename Products>
HnswGraph::Near HnswGraph::Descend(const Products& products, int layer) const {
  Near nearest{0, entry_};
  products(&entry_, 1, &nearest.product);
  for (int above = top_; above > layer; --above) {
    for (bool moved = true; moved;) {
      moved = false;
      const absl::Span<const int32_t> links = Links(nearest.row, above);
      float out[2 * kMaxLinks];
      products(links.data(), static_cast<int64_t>(links.size()), out);
      for (size_t i = 0; i < links.size(); ++i) {
        if (const Near next{out[i], links[i]}; nearest < next) {
          nearest = next;
          moved = true;
        }
      }
    }
  }
  return nearest;
}

template <typename Products>
std::vector<HnswGraph::Near> HnswGraph::Walk(const Products& products, Near start, int layer, size_t effort,
                                             const uint8_t* allowed, bool few) const {
  const auto nearer = [](const Near& a, const Near& b) { return b < a; };
  std::vector<Near> found;         // a heap, the farthest in front
  std::priority_queue<Near> open;  // the nearest on top
  std::unique_ptr<Visited> visited = TakeVisited();
  const uint16_t round = visited->round;
  uint16_t* marks = visited->marks.data();
  const auto keep = [&](const Near& near) {
    if (!Allowed(allowed, near.row)) return;
    found.push_back(near);
    std::push_heap(found.begin(), found.end(), nearer);
    if (found.size() > effort) {
      std::pop_heap(found.begin(), found.end(), nearer);
      found.pop_back();
    }
  };
  marks[start.row] = round;
  open.push(start);
  keep(start);
  while (!open.empty()) {
    const Near next = open.top();
    if (found.size() >= effort && next < found.front()) break;
    open.pop();
    int32_t fresh[2 * kMaxLinks];
    int64_t count = 0;
    const auto gather = [&](int32_t row) {
      if (marks[row] == round) return false;
      marks[row] = round;
      return true;
    };
    const absl::Span<const int32_t> links = Links(next.row, layer);
    if (few) {
      for (const int32_t row : links) {
        __builtin_prefetch(LinkBlock(row, layer));
        if (Allowed(allowed, row) && gather(row)) fresh[count++] = row;
      }
      for (const int32_t row : links) {
        if (count >= kFewStep) break;
        if (Allowed(allowed, row) || !gather(row)) continue;
        for (const int32_t beyond : Links(row, layer)) {
          if (Allowed(allowed, beyond) && count < 2 * kMaxLinks && gather(beyond)) fresh[count++] = beyond;
        }
      }
    } else {
      for (const int32_t row : links) {
        if (gather(row)) fresh[count++] = row;
      }
    }
    float out[2 * kMaxLinks];
    products(fresh, count, out);
    for (int64_t i = 0; i < count; ++i) {
      const Near near{out[i], fresh[i]};
      if (found.size() >= effort && near < found.front()) continue;
      open.push(near);
      __builtin_prefetch(LinkBlock(near.row, layer));
      keep(near);
    }
  }
  GiveVisited(std::move(visited));
  return found;
}

std::vector<int32_t> HnswGraph::Propose(const ExactScan& scan, absl::Span<const float> query, int64_t count,
                                        int64_t effort, absl::Span<const uint8_t> allowed,
                                        int64_t allowed_count) const {
  std::vector<int32_t> rows;
  effort = std::max(effort, count);
  if (entry_ < 0 || effort <= 0) return rows;
  const CodedQuery coded = CodeQuery(query);
  const auto products = [&](const int32_t* some, int64_t number, float* out) {
    scan.ApproximateProducts(coded, some, number, out);
  };
  const bool few = static_cast<double>(allowed_count) < kFewShare * static_cast<double>(size());
  if (few) effort *= kFewEffort;
  for (const Near& near : Walk(products, Descend(products, 0), 0, static_cast<size_t>(effort), allowed.data(), few)) {
    if (Allowed(allowed.data(), near.row)) rows.push_back(near.row);
  }
  return rows;
}

int64_t HnswGraph::Cost(int64_t count, int64_t effort, int64_t allowed_count) const {
  const double share = static_cast<double>(allowed_count) / static_cast<double>(std::max<int64_t>(1, size()));
  if (share < kLeastShare) return size();
  const double steps = static_cast<double>(std::max(effort, count));
  return static_cast<int64_t>(share < kFewShare ? kRowsOfOneFewStep * steps : kRowsOfOneStep * steps / share);
}

// --- building ---

class HnswGraph::Builder {
 public:
  Builder(const ExactScan& scan, HnswGraph& graph, size_t effort) : scan_(scan), graph_(graph), effort_(effort) {}

  void Insert(int32_t row, int level) {
    if (graph_.entry_ < 0) {
      graph_.entry_ = row;
      graph_.top_ = level;
      return;
    }
    const auto products = [&](const int32_t* rows, int64_t count, float* out) {
      scan_.ApproximateRowProducts(row, rows, count, out);
    };
    Near start = graph_.Descend(products, std::min(level, graph_.top_));
    for (int layer = std::min(level, graph_.top_); layer >= 0; --layer) {
      std::vector<Near> near = graph_.Walk(products, start, layer, effort_, nullptr, false);
      std::sort(near.begin(), near.end(), [](const Near& a, const Near& b) { return b < a; });
      start = near.front();
      const std::vector<Near> chosen = Choose(near, graph_.links_);
      int32_t* block = graph_.LinkBlock(row, layer);
      for (const Near& neighbour : chosen) block[++block[0]] = neighbour.row;
      for (const Near& neighbour : chosen) LinkBack(neighbour, row, layer);
    }
    if (level > graph_.top_) {
      graph_.entry_ = row;
      graph_.top_ = level;
    }
  }

 private:
  // Of candidates, nearest first, those that are nearer to the row in question than to any chosen before them: links
  // that lead in different directions (algorithm 4 of the paper).
  std::vector<Near> Choose(const std::vector<Near>& candidates, int most) const {
    std::vector<Near> chosen;
    int32_t rows[2 * kMaxLinks];
    float out[2 * kMaxLinks];
    for (const Near& candidate : candidates) {
      if (chosen.size() == static_cast<size_t>(most)) break;
      scan_.ApproximateRowProducts(candidate.row, rows, static_cast<int64_t>(chosen.size()), out);
      if (std::any_of(out, out + chosen.size(), [&](float product) { return product > candidate.product; })) continue;
      rows[chosen.size()] = candidate.row;
      chosen.push_back(candidate);
    }
    return chosen;
  }

  void LinkBack(const Near& neighbour, int32_t row, int layer) {
    int32_t* block = graph_.LinkBlock(neighbour.row, layer);
    const int most = graph_.MaxLinks(layer);
    if (block[0] < most) {
      block[++block[0]] = row;
      return;
    }
    float out[2 * kMaxLinks];
    scan_.ApproximateRowProducts(neighbour.row, block + 1, block[0], out);
    std::vector<Near> candidates = {{neighbour.product, row}};
    for (int i = 0; i < block[0]; ++i) candidates.push_back({out[i], block[1 + i]});
    std::sort(candidates.begin(), candidates.end(), [](const Near& a, const Near& b) { return b < a; });
    block[0] = 0;
    for (const Near& kept : Choose(candidates, most)) block[++block[0]] = kept.row;
  }

  const ExactScan& scan_;
  HnswGraph& graph_;
  size_t effort_;
};

absl::StatusOr<std::unique_ptr<HnswGraph>> HnswGraph::Build(const ExactScan& scan, const Options& options,
                                                            const std::function<bool()>& stop) {
  std::unique_ptr<HnswGraph> graph(new HnswGraph);
  graph->links_ = std::clamp(options.links, 4, kMaxLinks);
  const size_t rows = static_cast<size_t>(scan.size());
  graph->levels_.resize(rows);
  graph->upper_begin_.resize(rows);
  graph->lowest_.resize(rows * static_cast<size_t>(1 + 2 * graph->links_));
  size_t upper = 0;
  for (size_t row = 0; row < rows; ++row) {
    const double level = -std::log(1 - Uniform(static_cast<int32_t>(row))) / std::log(graph->links_);
    graph->levels_[row] = static_cast<uint8_t>(std::min<double>(level, kMaxLevel));
    graph->upper_begin_[row] = static_cast<int32_t>(upper);
    upper += graph->levels_[row] * static_cast<size_t>(1 + graph->links_);
  }
  graph->upper_.resize(upper);
  Builder builder(scan, *graph, static_cast<size_t>(std::max(options.build_effort, graph->links_)));
  for (size_t row = 0; row < rows; ++row) {
    if (stop && row % 256 == 0 && stop()) return absl::CancelledError("the building of a graph was stopped");
    builder.Insert(static_cast<int32_t>(row), graph->levels_[row]);
  }
  return graph;
}

// --- files ---

namespace {

template <typename Value>
void Append(std::string& bytes, const std::vector<Value>& values) {
  bytes.append(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(Value));
}

template <typename Value>
bool Take(std::string_view& bytes, size_t count, std::vector<Value>& values) {
  if (bytes.size() / sizeof(Value) < count) return false;
  values.resize(count);
  std::memcpy(values.data(), bytes.data(), count * sizeof(Value));
  bytes.remove_prefix(count * sizeof(Value));
  return true;
}

}  // namespace

std::string HnswGraph::Serialize() const {
  std::string bytes;
  Append(bytes, std::vector<int32_t>{links_, entry_, top_, static_cast<int32_t>(upper_.size())});
  Append(bytes, levels_);
  Append(bytes, lowest_);
  Append(bytes, upper_begin_);
  Append(bytes, upper_);
  return bytes;
}

absl::StatusOr<std::unique_ptr<HnswGraph>> HnswGraph::Parse(std::string_view bytes, int64_t rows) {
  const absl::Status bad = absl::DataLossError("the graph does not fit its segment");
  std::unique_ptr<HnswGraph> graph(new HnswGraph);
  std::vector<int32_t> head;
  const size_t count = static_cast<size_t>(rows);
  if (!Take(bytes, 4, head) || head[0] < 4 || head[0] > kMaxLinks || head[3] < 0) return bad;
  graph->links_ = head[0];
  graph->entry_ = head[1];
  graph->top_ = head[2];
  if (!Take(bytes, count, graph->levels_) ||
      !Take(bytes, count * static_cast<size_t>(1 + 2 * graph->links_), graph->lowest_) ||
      !Take(bytes, count, graph->upper_begin_) || !Take(bytes, static_cast<size_t>(head[3]), graph->upper_) ||
      !bytes.empty())
    return bad;
  if (count == 0) return graph;
  if (graph->entry_ < 0 || graph->entry_ >= rows || graph->levels_[static_cast<size_t>(graph->entry_)] != graph->top_)
    return bad;
  size_t upper = 0;
  for (int32_t row = 0; row < rows; ++row) {
    const size_t r = static_cast<size_t>(row);
    if (graph->levels_[r] > graph->top_ || graph->upper_begin_[r] != static_cast<int64_t>(upper)) return bad;
    upper += graph->levels_[r] * static_cast<size_t>(1 + graph->links_);
    if (upper > graph->upper_.size()) return bad;
    for (int layer = 0; layer <= graph->levels_[r]; ++layer) {
      const int32_t* block = graph->LinkBlock(row, layer);
      if (block[0] < 0 || block[0] > graph->MaxLinks(layer)) return bad;
      for (int i = 1; i <= block[0]; ++i) {
        if (block[i] < 0 || block[i] >= rows || graph->levels_[static_cast<size_t>(block[i])] < layer) return bad;
      }
    }
  }
  return upper == graph->upper_.size() ? absl::StatusOr<std::unique_ptr<HnswGraph>>(std::move(graph)) : bad;
}

}  // namespace blazon::retrieval
