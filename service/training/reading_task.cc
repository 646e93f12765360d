#include "service/training/reading_task.h"

#include <algorithm>
#include <map>
#include <memory>
#include <mutex>
#include <system_error>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "retrieval/collection.h"
#include "retrieval/document_loader.h"
#include "retrieval/extractive.h"
#include "service/reader.h"

namespace blazon::service {
namespace {

// The embedder, with the pieces of every text kept: the same sentences are found again and again.
retrieval::Embedder Remembering(const retrieval::Embedder& embedder) {
  auto known = std::make_shared<std::map<std::string, retrieval::PieceVectors>>();
  retrieval::Embedder remembering = embedder;
  remembering.embed_pieces =
      [known, embed = embedder.embed_pieces](
          absl::Span<const std::vector<std::string>> texts) -> absl::StatusOr<std::vector<retrieval::PieceVectors>> {
    std::vector<std::string> keys;
    std::vector<std::vector<std::string>> missing;
    std::vector<std::string> missing_keys;
    for (const std::vector<std::string>& text : texts) {
      keys.push_back(absl::StrJoin(text, "\x1f"));
      if (known->contains(keys.back())) continue;
      missing.push_back(text);
      missing_keys.push_back(keys.back());
    }
    if (!missing.empty()) {
      absl::StatusOr<std::vector<retrieval::PieceVectors>> vectors = embed(missing);
      if (!vectors.ok()) return vectors.status();
      for (size_t i = 0; i < missing.size(); ++i) known->emplace(missing_keys[i], std::move((*vectors)[i]));
    }
    std::vector<retrieval::PieceVectors> result;
    for (const std::string& key : keys) result.push_back(known->at(key));
    return result;
  };
  return remembering;
}

// A document's text, and where each of its sentences stands in it.
retrieval::Document ToDocument(const ReadingDocument& reading, size_t index, std::vector<retrieval::Span>& spans) {
  retrieval::Document document;
  document.source = "reading";
  document.path = absl::StrCat(index);
  document.title = reading.title;
  for (const std::string& sentence : reading.sentences) {
    if (!document.text.empty()) document.text += ' ';
    spans.push_back({document.text.size(), document.text.size() + sentence.size()});
    document.text += sentence;
  }
  document.source_map = {{0, 0, document.text.size()}};
  document.line_starts = {0};
  document.parser = "reading/1";
  document.encoding = "UTF-8";
  document.content_digest = retrieval::ContentDigest(document.text);
  return document;
}

// Whether most of either span lies in the other.
bool Same(const retrieval::Span& a, const retrieval::Span& b) {
  const size_t begin = std::max(a.begin, b.begin), end = std::min(a.end, b.end);
  return end > begin && 2 * (end - begin) > std::min(a.size(), b.size());
}

class Maker {
 public:
  Maker(const std::vector<ReadingDocument>& documents, const retrieval::Embedder& embedder,
        const ReadingTaskOptions& options)
      : documents_(documents), embedder_(Remembering(embedder)), options_(options) {}

  absl::Status Index(const std::filesystem::path& folder, bool held_out) {
    retrieval::CollectionOptions options;
    options.mode = retrieval::OpenMode::kWrite;
    options.create = true;
    options.embedder = embedder_;
    absl::StatusOr<std::unique_ptr<retrieval::Collection>> collection = retrieval::Collection::Open(folder, options);
    if (!collection.ok()) return collection.status();
    collection_ = *std::move(collection);
    spans_.assign(documents_.size(), {});
    std::vector<retrieval::Document> put;
    for (size_t i = 0; i < documents_.size(); ++i) {
      if (documents_[i].held_out == held_out) put.push_back(ToDocument(documents_[i], i, spans_[i]));
    }
    if (put.empty()) return absl::OkStatus();
    return collection_->Put(put).status();
  }

  // Adds the task of a question; with off_topic, as if its document were not there.
  absl::Status Add(size_t document, const ReadingQuestion& question, bool off_topic) {
    ReadingTask task;
    task.kind = off_topic ? TaskKind::kOffTopic : question.sentence < 0 ? TaskKind::kOnTopic : TaskKind::kAnswered;
    task.question = question.text;
    task.answer = question.answer;
    task.held_out = documents_[document].held_out;
    const std::string path = absl::StrCat(document);
    retrieval::Query query;
    query.text = question.text;
    query.count = options_.chunks + (off_topic ? 1 : 0);
    absl::StatusOr<std::vector<float>> vector = QuestionVector(question.text);
    if (!vector.ok()) return vector.status();
    query.vector = *std::move(vector);
    absl::StatusOr<std::vector<retrieval::ScoredChunk>> chunks = collection_->Search(query);
    if (!chunks.ok()) return chunks.status();
    if (off_topic) std::erase_if(*chunks, [&](const retrieval::ScoredChunk& chunk) { return chunk.path == path; });
    bool added = false;  // its own document was not found: training still shows it
    if (task.kind == TaskKind::kAnswered && !task.held_out &&
        std::none_of(chunks->begin(), chunks->end(), [&](const auto& chunk) { return chunk.path == path; })) {
      query.count = 1000;
      absl::StatusOr<std::vector<retrieval::ScoredChunk>> all = collection_->Search(query);
      if (!all.ok()) return all.status();
      for (retrieval::ScoredChunk& chunk : *all) {
        if (chunk.path != path) continue;
        chunks->push_back(std::move(chunk));
        added = true;
      }
    }
    absl::StatusOr<std::vector<retrieval::ScoredSentence>> sentences =
        retrieval::RankSentences(question.text, *chunks, embedder_, {.count = 256});
    if (!sentences.ok()) return sentences.status();
    for (const retrieval::ScoredSentence& sentence : *sentences) {
      const retrieval::ScoredChunk& chunk = (*chunks)[sentence.chunk_index];
      ReadingCandidate candidate;
      candidate.features = ReaderFeatures(sentence, chunk);
      candidate.confidence = sentence.confidence;
      candidate.right_document = task.kind == TaskKind::kAnswered && chunk.path == path;
      candidate.right =
          candidate.right_document && Same(sentence.span, spans_[document][static_cast<size_t>(question.sentence)]);
      const bool kept = task.candidates.size() < options_.candidates;
      task.found |= candidate.right && kept && !added;
      if (!kept && !(candidate.right && !task.held_out)) continue;
      const auto [place, is_new] = passage_of_.try_emplace(sentence.passage, result_.passages.size());
      if (is_new) result_.passages.push_back(sentence.passage);
      candidate.passage = place->second;
      task.candidates.push_back(std::move(candidate));
    }
    if (!task.candidates.empty()) result_.tasks.push_back(std::move(task));
    return absl::OkStatus();
  }

  const ReadingTasks& result() const { return result_; }
  ReadingTasks& result() { return result_; }

 private:
  // From the pieces, which RankSentences asks for too.
  absl::StatusOr<std::vector<float>> QuestionVector(const std::string& question) {
    const std::vector<std::string> pieces = retrieval::SplitWords(question);
    absl::StatusOr<std::vector<retrieval::PieceVectors>> vectors = embedder_.embed_pieces({&pieces, 1});
    if (!vectors.ok())
      return absl::Status(vectors.status().code(),
                          absl::StrCat("the question \"", question, "\": ", std::string(vectors.status().message())));
    return std::move(vectors->front().text);
  }

  const std::vector<ReadingDocument>& documents_;
  const retrieval::Embedder embedder_;
  const ReadingTaskOptions options_;
  std::unique_ptr<retrieval::Collection> collection_;
  std::vector<std::vector<retrieval::Span>> spans_;  // of each document's sentences
  std::map<std::string, size_t> passage_of_;
  ReadingTasks result_;
};

}  // namespace

absl::StatusOr<ReadingTasks> MakeReadingTasks(const std::vector<ReadingDocument>& documents,
                                              const retrieval::Embedder& embedder, const std::filesystem::path& folder,
                                              const ReadingTaskOptions& options,
                                              const std::function<void(const std::string&)>& log,
                                              const std::function<bool()>& stop) {
  const absl::Cleanup remove = [&] {
    std::error_code error;
    std::filesystem::remove_all(folder, error);
  };
  Maker maker(documents, embedder, options);
  for (const bool held_out : {false, true}) {
    const std::filesystem::path part = folder / (held_out ? "held_out" : "training");
    std::error_code error;
    std::filesystem::create_directories(folder, error);
    if (absl::Status status = maker.Index(part, held_out); !status.ok()) return status;
    int64_t answered = 0, asked = 0;
    for (size_t i = 0; i < documents.size(); ++i) {
      if (documents[i].held_out != held_out) continue;
      for (const ReadingQuestion& question : documents[i].questions) {
        if (stop()) return absl::CancelledError("stopped while the tasks were made; nothing was written");
        if (absl::Status status = maker.Add(i, question, false); !status.ok()) return status;
        if (question.sentence >= 0 && options.off_topic > 0 && answered++ % options.off_topic == 0) {
          if (absl::Status status = maker.Add(i, question, true); !status.ok()) return status;
        }
        if (++asked % 500 == 0) log(absl::StrCat(held_out ? "held-out" : "training", " questions searched: ", asked));
      }
    }
  }
  return std::move(maker.result());
}

}  // namespace blazon::service
