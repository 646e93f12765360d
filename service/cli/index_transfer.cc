// blazon index export and import: collections to and from JSON Lines and .npy.
#include <CLI/CLI.hpp>
#include <filesystem>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "retrieval/collection.h"
#include "service/cli/commands.h"
#include "service/cli/context.h"
#include "service/cli/interrupt.h"
#include "service/cli/progress.h"
#include "service/collection_files.h"

namespace blazon::service::cli {
namespace {

namespace fs = std::filesystem;

struct TransferFlags {
  std::string collection, to, from, vectors, embedder, kind;
  bool without_vectors = false;
};

absl::Status OnlyInThisProcess(const Context& context) {
  if (context.server.empty()) return absl::OkStatus();
  return absl::InvalidArgumentError(
      "a server does not do this; run the command without --server where its --data folder is (collections/NAME), for "
      "an import while no server runs. PutDocuments takes chunks and vectors");
}

int RunCollectionExport(const TransferFlags& flags, Context& context) {
  if (absl::Status status = OnlyInThisProcess(context); !status.ok()) return Fail(status, kWrongUsage);
  const absl::StatusOr<std::unique_ptr<retrieval::Collection>> collection =
      retrieval::Collection::Open(flags.collection, {});
  if (!collection.ok()) return Fail(collection.status());
  const absl::StatusOr<retrieval::ExportedTotals> totals = ExportCollection(**collection, flags.to);
  if (!totals.ok()) return Fail(totals.status());
  if (context.json) {
    std::cout << nlohmann::ordered_json{{"documents", totals->documents},
                                        {"chunks", totals->chunks},
                                        {"dimension", totals->dimension},
                                        {"embedder", totals->embedder}}
                     .dump()
              << std::endl;
  } else {
    std::cout << flags.to << ": " << totals->documents << " documents in " << totals->chunks << " chunks" << std::endl;
  }
  return kDone;
}

// What the flags say of the files to be imported.
absl::StatusOr<ImportOptions> FilesOf(const TransferFlags& flags) {
  ImportOptions options;
  std::error_code error;
  if (fs::is_directory(flags.from, error)) {
    if (!flags.vectors.empty() || !flags.embedder.empty())
      return absl::InvalidArgumentError("--vectors and --embedder belong to a JSON Lines file; an export has its own");
    absl::StatusOr<ImportOptions> exported = ExportedFiles(flags.from);
    if (!exported.ok()) return exported.status();
    options = *std::move(exported);
  } else {
    options.documents = flags.from;
    options.vectors = flags.vectors;
    options.embedder = flags.embedder;
  }
  options.without_vectors = flags.without_vectors;
  return options;
}

int RunCollectionImport(const TransferFlags& flags, Context& context) {
  if (absl::Status status = OnlyInThisProcess(context); !status.ok()) return Fail(status, kWrongUsage);
  absl::StatusOr<ImportOptions> options = FilesOf(flags);
  if (!options.ok()) return Fail(options.status(), kWrongUsage);
  const absl::StatusOr<int64_t> documents = CheckImport(*options);
  if (!documents.ok()) return Fail(documents.status());
  absl::StatusOr<ModelStore*> models = context.OpenModels();
  if (!models.ok()) return Fail(models.status());
  absl::StatusOr<retrieval::Embedder> embedder = (*models)->CollectionEmbedder();
  if (!embedder.ok()) return Fail(embedder.status());
  if (!flags.embedder.empty() && flags.embedder != embedder->fingerprint)
    options->embedder = retrieval::GivenEmbedder(flags.embedder);
  retrieval::CollectionOptions opening;
  opening.mode = retrieval::OpenMode::kWrite;
  opening.create = true;
  opening.index = flags.kind.empty() ? options->index : *retrieval::ParseIndexKind(flags.kind);
  opening.embedder = *std::move(embedder);
  const absl::StatusOr<std::unique_ptr<retrieval::Collection>> collection =
      retrieval::Collection::Open(flags.collection, opening);
  if (!collection.ok()) return Fail(collection.status());
  absl::StatusOr<ImportReport> report;
  {
    Progress progress("Imported");
    options->progress = [&](int64_t done, int64_t total) {
      progress.Show(done, total, "");
      return !Interrupted();
    };
    report = ImportCollection(**collection, *options, *documents);
  }
  if (!report.ok()) return Fail(report.status());
  const absl::Status built = (*collection)->BuildIndexes([] { return Interrupted(); });
  if (!built.ok() && !absl::IsCancelled(built)) return Fail(built);
  if (context.json) {
    std::cout << nlohmann::ordered_json{{"added", report->added},
                                        {"replaced", report->replaced},
                                        {"unchanged", report->unchanged},
                                        {"stopped", report->stopped}}
                     .dump()
              << std::endl;
  } else {
    std::cout << report->added << " added, " << report->replaced << " replaced, " << report->unchanged << " unchanged"
              << (report->stopped ? "; stopped before the end, the same command goes on" : "") << std::endl;
  }
  return report->stopped ? kFailed : kDone;
}

}  // namespace

void AddIndexTransfer(CLI::App& index, Context& context) {
  auto flags = std::make_shared<TransferFlags>();
  const auto add_command = [&](const char* name, const char* about, auto run) {
    CLI::App* command = index.add_subcommand(name, about);
    command->add_option("--collection", flags->collection, "The collection")->type_name("DIR")->required();
    command->callback(
        [flags, &context, run] { context.run = [flags, &context, run] { return run(*flags, context); }; });
    return command;
  };
  add_command("export", "Write documents and chunks as JSON Lines, vectors as .npy; not with --server",
              RunCollectionExport)
      ->add_option("--to", flags->to, "The folder to make: documents.jsonl, vectors.npy, collection.json")
      ->type_name("DIR")
      ->required();
  CLI::App* import = add_command(
      "import", "Put documents from JSON Lines, with chunks and vectors where they are given; not with --server",
      RunCollectionImport);
  import->add_option("from", flags->from, "A folder that 'index export' made, or a JSON Lines file")->required();
  import->add_option("--vectors", flags->vectors, "A row for each chunk of the JSON Lines file, float32 .npy")
      ->type_name("FILE");
  import
      ->add_option("--embedder", flags->embedder,
                   "What the vectors of a JSON Lines file come from: this program's embedder, as 'index stats' shows "
                   "it, or a name of your own for another")
      ->type_name("NAME");
  import->add_flag("--without-vectors", flags->without_vectors, "Take chunks alone, and embed them here");
  import
      ->add_option("--kind", flags->kind,
                   "As 'index create' has it, when the collection is made by this (default: as the exported one)")
      ->check(CLI::IsMember({"auto", "exact", "hnsw", "ivf", "ivfpq"}));
  import->footer(
      R"(A line is an object: "path" (or "_id") and "text", and if you like "title", "source", "language", "metadata", and "chunks", a list of
{"begin", "end", "headings", "place", "line", "vector"} with byte offsets into the text's UTF-8. All vectors of a collection
come from one embedder; where only you have it, every document brings its vectors.)");
}

}  // namespace blazon::service::cli
