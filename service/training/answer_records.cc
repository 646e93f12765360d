#include "service/training/answer_records.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <numeric>
#include <tuple>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "service/answer_prompt.h"
#include "service/training/random_source.h"

namespace blazon::service {
namespace {

constexpr int64_t kMaxOption = 1000;
constexpr double kAnswerInside = 0.8;     // share of the passages drawn around an answering sentence
constexpr size_t kConfusedDocuments = 4;  // other documents that a question is kept for
// A sentence of another document that is this near may answer the question indeed.
constexpr double kMayAnswer = 0.75;

// A question of another document that fits a sentence of this one.
struct Confusion {
  const std::string* question = nullptr;
  int64_t sentence = 0;
};

template <typename T>
void Shuffle(std::vector<T>& values, RandomSource& random) {
  for (size_t i = values.size(); i > 1; --i)
    std::swap(values[i - 1], values[static_cast<size_t>(random.Below(static_cast<int64_t>(i)))]);
}

absl::Status Check(absl::string_view name, int64_t value, int64_t low) {
  if (value >= low && value <= kMaxOption) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(name, " is ", value, "; it must be ", low, " to ", kMaxOption));
}

// Which documents are confused with each question's own: for each document those questions.
absl::StatusOr<std::vector<std::vector<Confusion>>> FindConfusions(const std::vector<ReadingDocument>& documents,
                                                                   const retrieval::Embedder& embedder,
                                                                   const std::function<void(const std::string&)>& log) {
  struct Place {
    size_t document;
    int64_t sentence;
  };
  std::vector<std::string> sentences;
  std::vector<Place> places;
  std::vector<std::vector<Confusion>> result(documents.size());
  for (size_t i = 0; i < documents.size(); ++i) {
    for (size_t s = 0; s < documents[i].sentences.size(); ++s) {
      sentences.push_back(absl::StrCat(documents[i].title, ": ", documents[i].sentences[s]));
      places.push_back({i, static_cast<int64_t>(s)});
    }
  }
  log(absl::StrCat("embedding ", sentences.size(), " sentences"));
  absl::StatusOr<std::vector<float>> vectors = embedder.embed(sentences);
  if (!vectors.ok()) return vectors.status();
  const size_t dimension = static_cast<size_t>(embedder.dimension);
  for (size_t i = 0; i < documents.size(); ++i) {
    std::vector<std::string> asked;
    std::vector<const std::string*> texts;
    for (const ReadingQuestion& question : documents[i].questions) {
      if (question.sentence < 0) continue;
      asked.push_back(question.text);
      texts.push_back(&question.text);
    }
    if (asked.empty()) continue;
    absl::StatusOr<std::vector<float>> questions = embedder.embed(asked);
    if (!questions.ok()) return questions.status();
    for (size_t q = 0; q < asked.size(); ++q) {
      std::vector<std::pair<double, size_t>> nearest;  // cosine, place; the best of each document
      for (size_t p = 0; p < places.size(); ++p) {
        const ReadingDocument& other = documents[places[p].document];
        if (places[p].document == i || other.held_out != documents[i].held_out) continue;
        const float* a = questions->data() + q * dimension;
        const double cosine = std::inner_product(a, a + dimension, vectors->data() + p * dimension, 0.0);
        if (cosine > kMayAnswer) continue;
        if (!nearest.empty() && places[nearest.back().second].document == places[p].document) {
          if (cosine > nearest.back().first) nearest.back() = {cosine, p};
        } else {
          nearest.emplace_back(cosine, p);
        }
      }
      const size_t kept = std::min(nearest.size(), kConfusedDocuments);
      std::partial_sort(nearest.begin(), nearest.begin() + static_cast<int64_t>(kept), nearest.end(),
                        [](const auto& a, const auto& b) { return a.first > b.first; });
      for (size_t k = 0; k < kept; ++k) {
        const Place& place = places[nearest[k].second];
        result[place.document].push_back({texts[q], place.sentence});
      }
    }
  }
  return result;
}

class Writer {
 public:
  Writer(const AnswerRecordOptions& options, AnswerRecords& records)
      : options_(options), random_(options.seed), records_(records) {}

  void Add(const ReadingDocument& document, const std::vector<Confusion>& confusions) {
    const int64_t count = static_cast<int64_t>(document.sentences.size());
    std::vector<const ReadingQuestion*> answered, unanswered;
    for (const ReadingQuestion& question : document.questions)
      (question.sentence < 0 ? unanswered : answered).push_back(&question);
    if (answered.empty()) return;

    static constexpr int64_t kLengths[] = {1, 2, 3, 3, 4, 5, 8};
    const int64_t length = std::min(count, random_.Pick(kLengths));
    const int64_t around = random_.Chance(kAnswerInside) ? random_.Pick(answered)->sentence : random_.Below(count);
    const int64_t begin = std::clamp<int64_t>(around - random_.Below(length), 0, count - length);
    const auto inside = [&](int64_t sentence) { return begin <= sentence && sentence < begin + length; };

    nlohmann::json branches = nlohmann::json::array();
    const auto add = [&](const std::string& question, const std::string& answer) {
      branches.push_back({{"prompt", AnswerQuestion(question)}, {"completion", absl::StrCat(" ", answer)}});
      ++(answer == kNotStated ? records_.refused : records_.answered);
    };
    Shuffle(answered, random_);
    int64_t outside = 0;
    for (const ReadingQuestion* question : answered) {
      if (inside(question->sentence)) {
        add(question->text, std::string(absl::StripSuffix(question->answer, ".")));
      } else if (outside++ < options_.max_outside) {
        add(question->text, std::string(kNotStated));
      }
    }
    Shuffle(unanswered, random_);
    for (size_t i = 0; i < std::min<size_t>(unanswered.size(), options_.max_unanswered); ++i)
      add(unanswered[i]->text, std::string(kNotStated));
    // Those that fit the passage itself come first.
    std::vector<Confusion> others = confusions;
    Shuffle(others, random_);
    std::stable_partition(others.begin(), others.end(),
                          [&](const Confusion& confusion) { return inside(confusion.sentence); });
    for (size_t i = 0; i < std::min<size_t>(others.size(), options_.max_others); ++i)
      add(*others[i].question, std::string(kNotStated));

    const auto first = document.sentences.begin() + begin;
    const nlohmann::json record = {
        {"prompt", AnswerPassage(document.title, "", absl::StrJoin(first, first + length, " "))},
        {"branches", branches}};
    (document.held_out ? records_.held_out : records_.training).push_back(record.dump());
  }

  RandomSource& random() { return random_; }

 private:
  const AnswerRecordOptions& options_;
  RandomSource random_;
  AnswerRecords& records_;
};

}  // namespace

absl::StatusOr<AnswerRecords> MakeAnswerRecords(const std::vector<ReadingDocument>& documents,
                                                const retrieval::Embedder& embedder, const AnswerRecordOptions& options,
                                                const std::function<void(const std::string&)>& log) {
  for (const auto& [name, value, low] : {std::tuple<absl::string_view, int64_t, int64_t>{"passes", options.passes, 1},
                                         {"max-outside", options.max_outside, 0},
                                         {"max-unanswered", options.max_unanswered, 0},
                                         {"max-others", options.max_others, 0}}) {
    if (absl::Status status = Check(name, value, low); !status.ok()) return status;
  }
  absl::StatusOr<std::vector<std::vector<Confusion>>> confusions = FindConfusions(documents, embedder, log);
  if (!confusions.ok()) return confusions.status();
  AnswerRecords records;
  Writer writer(options, records);
  for (int64_t pass = 0; pass < options.passes; ++pass) {
    for (size_t i = 0; i < documents.size(); ++i) writer.Add(documents[i], (*confusions)[i]);
  }
  Shuffle(records.training, writer.random());
  Shuffle(records.held_out, writer.random());
  return records;
}

}  // namespace blazon::service
