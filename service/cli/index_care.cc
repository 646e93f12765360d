// blazon index verify, repair, snapshot and restore: looks after collections.
#include <CLI/CLI.hpp>
#include <iostream>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "retrieval/collection_care.h"
#include "service/cli/commands.h"
#include "service/cli/context.h"

namespace blazon::service::cli {
namespace {

struct CareFlags {
  std::string collection, to, from;
};

int RunVerify(const CareFlags& flags, Context& context) {
  absl::StatusOr<Backend*> backend = context.OpenBackend();
  if (!backend.ok()) return Fail(backend.status());
  v1::VerifyCollectionRequest request;
  request.set_collection(flags.collection);
  absl::StatusOr<v1::VerifyCollectionResponse> response = (*backend)->VerifyCollection(request);
  if (!response.ok()) return Fail(response.status());
  if (context.json) PrintJson(*response);
  for (const v1::CollectionDamage& damage : response->damage())
    std::cerr << "blazon: " << damage.file() << ": " << damage.description() << "\n";
  if (response->damage_size() > 0) {
    std::cerr << "blazon: " << flags.collection << " is damaged; 'blazon index repair' mends what can be mended\n";
    return kFailed;
  }
  if (context.json) return kDone;
  std::cout << "All is well: " << response->documents() << " documents in " << response->chunks() << " chunks, "
            << response->pages() << " pages, " << response->segments() << " vector files";
  if (response->without_checksums())
    std::cout << "; its database is of an older format, without checksums (the next 'index add' brings it up to date)";
  std::cout << std::endl;
  return kDone;
}

void PrintSnapshot(const v1::SnapshotCollectionResponse& response, const std::string& made, const Context& context) {
  if (context.json) {
    PrintJson(response);
  } else {
    std::cout << made << ": " << response.documents() << " documents in " << response.chunks() << " chunks, generation "
              << response.generation() << std::endl;
  }
}

int RunSnapshot(const CareFlags& flags, Context& context) {
  absl::StatusOr<Backend*> backend = context.OpenBackend();
  if (!backend.ok()) return Fail(backend.status());
  v1::SnapshotCollectionRequest request;
  request.set_collection(flags.collection);
  request.set_snapshot(flags.to);
  absl::StatusOr<v1::SnapshotCollectionResponse> response = (*backend)->SnapshotCollection(request);
  if (!response.ok()) return Fail(response.status());
  PrintSnapshot(*response, flags.to, context);
  return kDone;
}

absl::Status OnlyHere(const Context& context) {
  if (context.server.empty()) return absl::OkStatus();
  return absl::InvalidArgumentError(
      "a server does not do this; end it, and run the command where its --data folder is, without --server");
}

int RunRestore(const CareFlags& flags, Context& context) {
  if (absl::Status status = OnlyHere(context); !status.ok()) return Fail(status, kWrongUsage);
  const absl::StatusOr<retrieval::SnapshotReport> report = retrieval::RestoreCollection(flags.from, flags.collection);
  if (!report.ok()) return Fail(report.status());
  v1::SnapshotCollectionResponse response;
  response.set_generation(report->generation);
  response.set_documents(static_cast<int32_t>(report->documents));
  response.set_chunks(static_cast<int32_t>(report->chunks));
  response.set_copied_segments(static_cast<int32_t>(report->copied));
  PrintSnapshot(response, flags.collection, context);
  return kDone;
}

int RunRepair(const CareFlags& flags, Context& context) {
  if (absl::Status status = OnlyHere(context); !status.ok()) return Fail(status, kWrongUsage);
  absl::StatusOr<ModelStore*> models = context.OpenModels();
  if (!models.ok()) return Fail(models.status());
  absl::StatusOr<retrieval::Embedder> embedder = (*models)->CollectionEmbedder();
  if (!embedder.ok()) return Fail(embedder.status());
  retrieval::CollectionOptions options;
  options.mode = retrieval::OpenMode::kWrite;
  options.embedder = *std::move(embedder);
  const absl::StatusOr<retrieval::RepairReport> report = retrieval::RepairCollection(flags.collection, options);
  if (!report.ok()) return Fail(report.status());
  for (const retrieval::Damage& damage : report->damage)
    std::cerr << "blazon: was damaged: " << damage.file << ": " << damage.what << "\n";
  for (const std::string& lost : report->lost) std::cerr << "blazon: lost: " << lost << "\n";
  if (report->damage.empty()) {
    std::cout << "Nothing is damaged" << std::endl;
  } else {
    std::cout << report->bytes_corrected << " bytes put right, " << report->pages_from_log
              << " pages taken from the log, " << report->vectors_embedded << " vectors and "
              << report->word_indexes_made << " word indexes made again, " << report->lost.size()
              << " losses; the files as they were are in " << report->kept_in << std::endl;
  }
  return report->lost.empty() ? kDone : kFailed;
}

}  // namespace

void AddIndexCare(CLI::App& index, Context& context) {
  auto flags = std::make_shared<CareFlags>();
  const auto add_command = [&](const char* name, const char* about, auto run) {
    CLI::App* command = index.add_subcommand(name, about);
    command->add_option("--collection", flags->collection, "The collection")->type_name("DIR")->required();
    command->callback(
        [flags, &context, run] { context.run = [flags, &context, run] { return run(*flags, context); }; });
    return command;
  };
  add_command("verify", "Read all files and compare them with their checksums and each other", RunVerify);
  add_command(
      "repair",
      "Mend a damaged collection from what it still holds, and name what is lost; the files are kept as they were",
      RunRepair);
  add_command("snapshot", "Copy the collection as it is now, also while it is written to", RunSnapshot)
      ->add_option("--to", flags->to, "The folder to make; with --server, a name under its --data/snapshots")
      ->type_name("DIR")
      ->required();
  add_command("restore", "Make a collection from a snapshot, which is verified before", RunRestore)
      ->add_option("--from", flags->from, "The snapshot's folder")
      ->type_name("DIR")
      ->required();
}

}  // namespace blazon::service::cli
