#include "service/reader.h"

#include <c10/core/InferenceMode.h>

#include <cmath>
#include <exception>
#include <utility>

#include "absl/status/status.h"
#include "language/models/bert_embedder.h"
#include "language/models/sentence_reader.h"
#include "service/checkpoint/sentence_reader_file.h"

namespace blazon::service {
namespace {

class BertReader : public Reader {
 public:
  BertReader(std::unique_ptr<language::SentenceReader> reader, const language::BertEmbedder& embedder)
      : reader_(std::move(reader)), embedder_(embedder) {}

  absl::StatusOr<std::vector<Reading>> Read(const std::string& question,
                                            absl::Span<const retrieval::ScoredSentence> sentences,
                                            absl::Span<const retrieval::ScoredChunk> chunks) const override {
    std::vector<Reading> readings(sentences.size());
    if (sentences.empty()) return readings;
    std::vector<std::string> texts = {question};
    std::vector<std::vector<float>> features;
    for (const retrieval::ScoredSentence& sentence : sentences) {
      texts.push_back(sentence.passage);
      features.push_back(ReaderFeatures(sentence, chunks[sentence.chunk_index]));
    }
    try {
      const c10::InferenceMode inference;
      absl::StatusOr<std::vector<language::TextStates>> states = embedder_.States(texts, reader_->first_layer());
      if (!states.ok()) return states.status();
      const std::vector<const language::TextStates*> questions(sentences.size(), &states->front());
      std::vector<const language::TextStates*> passages;
      for (size_t i = 1; i < states->size(); ++i) passages.push_back(&(*states)[i]);
      const at::Tensor scores = reader_->Forward(language::PadPairs(questions, passages, features)).contiguous();
      const float* row = scores.const_data_ptr<float>();  // [B, 2]
      for (Reading& reading : readings) {
        reading.rank = row[0];
        reading.answers = 1 / (1 + std::exp(-static_cast<double>(row[1])));
        row += 2;
      }
    } catch (const std::exception&) {
      return absl::InternalError("the reader failed; is there enough memory?");
    }
    return readings;
  }

 private:
  std::unique_ptr<language::SentenceReader> reader_;
  const language::BertEmbedder& embedder_;
};

}  // namespace

std::vector<float> ReaderFeatures(const retrieval::ScoredSentence& sentence, const retrieval::ScoredChunk& chunk) {
  return {static_cast<float>(sentence.cosine), static_cast<float>(sentence.content),
          static_cast<float>(sentence.weakest), static_cast<float>(sentence.question_words),
          static_cast<float>(chunk.cosine)};
}

absl::StatusOr<std::unique_ptr<Reader>> Reader::Load(const std::filesystem::path& file,
                                                     const language::TextEmbedder& embedder) {
  const auto* bert = dynamic_cast<const language::BertEmbedder*>(&embedder);
  if (bert == nullptr) return absl::FailedPreconditionError("the reader needs a BERT embedder");
  absl::StatusOr<std::unique_ptr<language::SentenceReader>> reader = ReadSentenceReader(file, *bert);
  if (!reader.ok()) return reader.status();
  return std::make_unique<BertReader>(*std::move(reader), *bert);
}

}  // namespace blazon::service
