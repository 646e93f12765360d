// blazon train answer-records: the records that the answering adapter learns from (blazon train sft).
#include <CLI/CLI.hpp>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <memory>
#include <string>
#include <system_error>
#include <vector>

#include "absl/strings/str_cat.h"
#include "service/cli/commands.h"
#include "service/cli/context.h"
#include "service/training/answer_records.h"

namespace blazon::service::cli {
namespace {

struct AnswerRecordFlags {
  AnswerRecordOptions options;
  std::vector<std::filesystem::path> data;
  std::filesystem::path output;
};

absl::Status WriteLines(const std::filesystem::path& file, const std::vector<std::string>& lines) {
  std::ofstream stream(file, std::ios::binary | std::ios::trunc);
  for (const std::string& line : lines) stream << line << '\n';
  stream.close();
  if (!stream) return absl::UnavailableError(absl::StrCat(file.string(), " cannot be written; is the disk full?"));
  return absl::OkStatus();
}

int RunTrainAnswerRecords(const AnswerRecordFlags& flags, Context& context) {
  if (!context.server.empty())
    return Fail(absl::InvalidArgumentError("records are made in this process; leave out --server"), kWrongUsage);
  absl::StatusOr<std::vector<ReadingDocument>> documents = ReadReadingSet(flags.data);
  if (!documents.ok()) return Fail(documents.status());
  absl::StatusOr<ModelStore*> models = context.OpenModels();
  if (!models.ok()) return Fail(models.status());
  absl::StatusOr<retrieval::Embedder> embedder = (*models)->CollectionEmbedder();
  if (!embedder.ok()) return Fail(embedder.status());
  AnswerRecordOptions options = flags.options;
  if (context.seed) options.seed = *context.seed;
  const absl::StatusOr<AnswerRecords> records = MakeAnswerRecords(
      *documents, *embedder, options, [](const std::string& line) { std::cerr << line << std::endl; });
  if (!records.ok()) return Fail(records.status());
  std::error_code error;
  std::filesystem::create_directories(flags.output, error);
  if (absl::Status status = WriteLines(flags.output / "training.jsonl", records->training); !status.ok())
    return Fail(status);
  if (absl::Status status = WriteLines(flags.output / "held_out.jsonl", records->held_out); !status.ok())
    return Fail(status);
  std::cerr << records->training.size() << " training and " << records->held_out.size() << " held-out records; "
            << records->answered << " questions with an answer, " << records->refused << " without" << std::endl;
  std::cout << flags.output.string() << std::endl;
  return kDone;
}

}  // namespace

void AddTrainAnswerRecords(CLI::App& train, Context& context) {
  auto flags = std::make_shared<AnswerRecordFlags>();
  AnswerRecordOptions& options = flags->options;
  CLI::App* command =
      train.add_subcommand("answer-records", "Make records for 'train sft' from documents with questions");
  command
      ->add_option("--data", flags->data,
                   "A reading set: JSON Lines of documents with questions; may be given more than once")
      ->type_name("FILE")
      ->required();
  command->add_option("--out", flags->output, "The folder to write training.jsonl and held_out.jsonl into")
      ->type_name("DIR")
      ->required();
  command->add_option("--passes", options.passes, "Passages drawn of each document")->capture_default_str();
  command
      ->add_option("--max-outside", options.max_outside,
                   "Questions of a record whose sentence the document has and the passage has not")
      ->capture_default_str();
  command->add_option("--max-unanswered", options.max_unanswered, "That suit the document, which does not answer them")
      ->capture_default_str();
  command->add_option("--max-others", options.max_others, "Of other documents, near to this one's sentences")
      ->capture_default_str();
  command->footer(
      R"(A record is a run of a document's sentences, 1 to 8 of them, with questions as its branches; those that the passage
does not answer are to be answered with 'not stated'. About 15 of 100 documents, by a hash of their titles, go into
held_out.jsonl. --seed decides what is drawn.

Example:
  blazon train answer-records --data my_documents.jsonl --out records
  blazon train sft --data records/training.jsonl --eval records/held_out.jsonl --out my-adapter)");
  command->callback(
      [flags, &context] { context.run = [flags, &context] { return RunTrainAnswerRecords(*flags, context); }; });
}

}  // namespace blazon::service::cli
