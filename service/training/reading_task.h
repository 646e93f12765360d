// The reader's training tasks: each question with the sentences that our own search finds for it, made with the code
// that serves: a collection, hybrid search, and RankSentences.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "retrieval/embedder.h"
#include "service/training/reading_set.h"

namespace blazon::service {

enum class TaskKind {
  kAnswered,  // a sentence of the collection answers
  kOnTopic,   // written for one of its documents, which does not answer it
  kOffTopic,  // another document's question: the document that answers was taken out of what was found
};

struct ReadingCandidate {
  size_t passage = 0;           // index into ReadingTasks::passages
  std::vector<float> features;  // ReaderFeatures
  bool right = false;           // it holds the answering sentence
  bool right_document = false;
  double confidence = 0;  // RankSentences'
};

struct ReadingTask {
  TaskKind kind = TaskKind::kAnswered;
  std::string question, answer;
  bool held_out = false;
  bool found = false;                        // the answering sentence is among the candidates by search alone
  std::vector<ReadingCandidate> candidates;  // in RankSentences' order
};

struct ReadingTasks {
  std::vector<std::string> passages;  // each once
  std::vector<ReadingTask> tasks;
};

struct ReadingTaskOptions {
  int64_t chunks = 6;      // searched for each question
  size_t candidates = 12;  // kept; for training the answering sentence is added when it is not among them
  // Each so many-th answered question is asked a second time without its document, so that the wording of a question
  // does not tell whether it has an answer; 0: none.
  int64_t off_topic = 1;
};

// Held-out documents and the others are searched apart, each in a collection of their own under `folder`, which is
// created and removed again. Questions or sentences that the embedder cannot take are errors that name them.
absl::StatusOr<ReadingTasks> MakeReadingTasks(const std::vector<ReadingDocument>& documents,
                                              const retrieval::Embedder& embedder, const std::filesystem::path& folder,
                                              const ReadingTaskOptions& options,
                                              const std::function<void(const std::string&)>& log,
                                              const std::function<bool()>& stop);

}  // namespace blazon::service
