// blazon index add, sync and watch: brings files into collections.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <filesystem>
#include <iostream>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "retrieval/chunker.h"
#include "retrieval/folder_watch.h"
#include "retrieval/sync_plan.h"
#include "retrieval/text_language.h"
#include "service/cli/commands.h"
#include "service/cli/context.h"
#include "service/cli/index_progress.h"
#include "service/cli/input.h"
#include "service/cli/interrupt.h"

namespace blazon::service::cli {
namespace {

constexpr auto kRetryInterval = std::chrono::seconds(1);

struct FileFlags {
  std::string collection;
  std::vector<std::string> paths;
  std::string files_from, source;
  std::vector<std::string> include, exclude;
  bool nul = false, prune = false, no_gitignore = false, strict = false, dry_run = false;
  double near_duplicates = 0;
  bool preview = false;
  std::string chunker = "recursive";
  int64_t chunk_tokens = retrieval::ChunkerOptions().target_tokens;
  int64_t quiet_ms = 500;
  std::string json_text;
  std::vector<std::string> metadata;
  std::string language;
};

// Two folders of one name are one source: a person may not have meant that.
void TellOfSharedSources(const AddRequest& request) {
  std::map<std::string, std::filesystem::path> folders;  // by their own name
  for (const std::filesystem::path& path : request.paths) {
    std::error_code error;
    const std::filesystem::path folder = std::filesystem::canonical(path, error);
    if (error || !std::filesystem::is_directory(folder, error)) continue;
    const auto [place, fresh] = folders.emplace(folder.filename().string(), folder);
    if (fresh || place->second == folder) continue;
    std::cerr << "blazon: " << place->second.string() << " and " << folder.string() << " are both called '"
              << place->first << "', so their documents share that source; --source gives one another name\n";
  }
}

absl::Status TakeMetadata(const std::vector<std::string>& entries, std::map<std::string, std::string>& metadata) {
  for (const std::string& entry : entries) {
    const size_t equals = entry.find('=');
    if (equals == std::string::npos || equals == 0)
      return absl::InvalidArgumentError(absl::StrCat("--metadata ", entry, " is not KEY=VALUE"));
    if (!metadata.emplace(entry.substr(0, equals), entry.substr(equals + 1)).second)
      return absl::InvalidArgumentError(absl::StrCat("--metadata ", entry.substr(0, equals), " is given twice"));
  }
  return absl::OkStatus();
}

absl::StatusOr<AddRequest> RequestOf(const FileFlags& flags) {
  absl::StatusOr<std::vector<std::string>> paths = GatherPaths(flags.paths, flags.files_from, flags.nul);
  if (!paths.ok()) return paths.status();
  if (paths->empty()) return absl::InvalidArgumentError("give files or folders, or --files-from FILE");
  AddRequest request;
  request.collection = flags.collection;
  request.paths.assign(paths->begin(), paths->end());
  request.source = flags.source;
  request.include = flags.include;
  request.exclude = flags.exclude;
  request.gitignore = !flags.no_gitignore;
  request.prune = flags.prune;
  request.strict = flags.strict;
  request.dry_run = flags.dry_run;
  request.near_duplicates = flags.near_duplicates;
  request.chunker.target_tokens = flags.chunk_tokens;
  request.chunker.kind = *retrieval::ParseChunkerKind(flags.chunker);  // the flag's check knows the names
  request.json_text = flags.json_text;
  if (absl::Status status = TakeMetadata(flags.metadata, request.metadata); !status.ok()) return status;
  if (!flags.language.empty()) {
    if (absl::Status status = retrieval::CheckLanguage(flags.language); !status.ok()) {
      return absl::InvalidArgumentError(absl::StrCat("--language: ", status.message()));
    }
  }
  request.language = flags.language;
  if (request.source.empty()) TellOfSharedSources(request);
  return request;
}

absl::StatusOr<AddReport> Carry(Backend& backend, AddRequest& request) {
  IndexProgress shown;
  request.progress = [&shown](const AddProgress& progress) { shown.Show(progress); };
  absl::StatusOr<AddReport> report = backend.AddDocuments(request);
  if (!report.ok()) return report.status();
  auto& results = *report->response.mutable_results();
  std::stable_sort(results.begin(), results.end(),
                   [](const v1::PutResult& a, const v1::PutResult& b) { return a.path() < b.path(); });
  return report;
}

struct Counts {
  int64_t of_state[v1::PutState_ARRAYSIZE] = {};
  explicit Counts(const AddReport& report) {
    for (const v1::PutResult& result : report.response.results()) ++of_state[result.state()];
  }
  int64_t added() const { return of_state[v1::PUT_STATE_ADDED]; }
  int64_t replaced() const { return of_state[v1::PUT_STATE_REPLACED]; }
  int64_t unchanged() const { return of_state[v1::PUT_STATE_UNCHANGED]; }
  int64_t refused() const { return of_state[v1::PUT_STATE_REFUSED]; }
};

// Warnings, files that were refused and duplicates, on standard error.
void TellOfFiles(const AddReport& report) {
  for (const v1::PutResult& result : report.response.results()) {
    for (const std::string& warning : result.warnings())
      std::cerr << "blazon: " << result.path() << ": " << warning << "\n";
    if (result.state() == v1::PUT_STATE_REFUSED) std::cerr << "blazon: left out: " << result.error().message() << "\n";
  }
  for (const AddReport::Duplicate& duplicate : report.duplicates)
    std::cerr << "blazon: " << duplicate.path << " is the same as " << duplicate.same_as << "\n";
  for (const AddReport::NearDuplicate& pair : report.near_duplicates) {
    std::cerr << absl::StrFormat("blazon: %s is nearly the same as %s (%.0f %%)\n", pair.path, pair.other,
                                 100 * pair.similarity);
  }
}

std::string Summary(const AddReport& report) {
  const Counts counts(report);
  std::string text =
      absl::StrFormat("%d added, %d replaced, %d unchanged", counts.added(), counts.replaced(), counts.unchanged());
  if (report.pruned > 0) absl::StrAppend(&text, ", ", report.pruned, " pruned");
  if (!report.duplicates.empty()) absl::StrAppend(&text, ", ", report.duplicates.size(), " duplicates");
  if (counts.refused() > 0) absl::StrAppend(&text, ", ", counts.refused(), " left out");
  if (report.unsupported > 0) absl::StrAppend(&text, "; ", report.unsupported, " files of other kinds");
  return text;
}

std::string SummaryJson(const AddReport& report) {
  const Counts counts(report);
  nlohmann::ordered_json line = {{"event", "synced"},
                                 {"added", counts.added()},
                                 {"replaced", counts.replaced()},
                                 {"unchanged", counts.unchanged()},
                                 {"pruned", report.pruned},
                                 {"refused", counts.refused()},
                                 {"unsupported", report.unsupported},
                                 {"left_out", report.left_out},
                                 {"gone", report.gone}};
  line["duplicates"] = nlohmann::ordered_json::array();
  for (const AddReport::Duplicate& duplicate : report.duplicates)
    line["duplicates"].push_back({{"path", duplicate.path}, {"same_as", duplicate.same_as}});
  line["near_duplicates"] = nlohmann::ordered_json::array();
  for (const AddReport::NearDuplicate& pair : report.near_duplicates)
    line["near_duplicates"].push_back({{"path", pair.path}, {"other", pair.other}, {"similarity", pair.similarity}});
  line["changes"] = nlohmann::ordered_json::array();
  for (const v1::PutResult& result : report.response.results()) {
    if (result.state() == v1::PUT_STATE_UNCHANGED) continue;
    nlohmann::ordered_json change = {{"path", result.path()}, {"state", v1::PutState_Name(result.state())}};
    if (result.state() == v1::PUT_STATE_REFUSED) change["reason"] = result.error().message();
    line["changes"].push_back(std::move(change));
  }
  return line.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

int Status(const AddReport& report) { return Counts(report).refused() > 0 ? kFailed : kDone; }

void ShowChunk(const PreviewedChunk& chunk, bool json) {
  if (json) {
    const nlohmann::ordered_json line = {
        {"path", chunk.path},    {"title", chunk.title},   {"headings", chunk.heading_path},
        {"place", chunk.place},  {"line", chunk.line},     {"begin", chunk.span.begin},
        {"end", chunk.span.end}, {"tokens", chunk.tokens}, {"text", chunk.text}};
    std::cout << line.dump() << "\n";
    return;
  }
  std::cout << "--- " << chunk.path << (chunk.place.empty() ? absl::StrCat(":", chunk.line) : "#" + chunk.place) << "  "
            << chunk.tokens << " tokens" << (chunk.heading_path.empty() ? "" : "  " + chunk.heading_path) << "\n"
            << chunk.text << "\n";
}

int RunPreview(const AddRequest& request, Context& context) {
  absl::StatusOr<Backend*> backend = context.OpenBackend();
  if (!backend.ok()) return Fail(backend.status());
  int64_t chunks = 0, tokens = 0;
  const absl::StatusOr<AddReport> report = (*backend)->PreviewDocuments(request, [&](const PreviewedChunk& chunk) {
    ShowChunk(chunk, context.json);
    ++chunks;
    tokens += chunk.tokens;
  });
  if (!report.ok()) return Fail(report.status());
  TellOfFiles(*report);
  if (!context.json)
    std::cout << "Nothing was changed. " << chunks << " pieces of " << tokens << " tokens" << std::endl;
  return Status(*report);
}

int RunAdd(const FileFlags& flags, Context& context) {
  absl::StatusOr<AddRequest> request = RequestOf(flags);
  if (!request.ok()) return Fail(request.status(), kWrongUsage);
  if (flags.preview) return RunPreview(*request, context);
  absl::StatusOr<Backend*> backend = context.OpenBackend();
  if (!backend.ok()) return Fail(backend.status());
  absl::StatusOr<AddReport> report = Carry(**backend, *request);
  if (!report.ok()) return Fail(report.status());
  TellOfFiles(*report);
  if (context.json) {
    PrintJson(report->response);
  } else {
    std::cout << Summary(*report) << std::endl;
  }
  return Status(*report);
}

int RunSync(const FileFlags& flags, Context& context) {
  absl::StatusOr<AddRequest> request = RequestOf(flags);
  if (!request.ok()) return Fail(request.status(), kWrongUsage);
  absl::StatusOr<Backend*> backend = context.OpenBackend();
  if (!backend.ok()) return Fail(backend.status());
  absl::StatusOr<AddReport> report = Carry(**backend, *request);
  if (!report.ok()) return Fail(report.status());
  if (context.json) {
    std::cout << SummaryJson(*report) << std::endl;
    return Status(*report);
  }
  TellOfFiles(*report);
  if (flags.dry_run) {
    for (const v1::PutResult& result : report->response.results()) {
      if (result.state() == v1::PUT_STATE_ADDED) std::cout << "+ " << result.path() << "\n";
      if (result.state() == v1::PUT_STATE_REPLACED) std::cout << "~ " << result.path() << "\n";
    }
  }
  if (flags.dry_run || !flags.prune) {
    for (const std::string& path : report->gone) std::cout << "- " << path << "\n";
    if (!report->gone.empty() && !flags.prune)
      std::cout << "(" << report->gone.size() << " documents have no file any more; --prune removes them)\n";
  }
  std::cout << (flags.dry_run ? "Nothing was changed. To do: " : "") << Summary(*report) << std::endl;
  return Status(*report);
}

int RunWatch(const FileFlags& flags, Context& context) {
  absl::StatusOr<AddRequest> request = RequestOf(flags);
  if (!request.ok()) return Fail(request.status(), kWrongUsage);
  absl::StatusOr<Backend*> backend = context.OpenBackend();
  if (!backend.ok()) return Fail(backend.status());
  // Before the first look, so that nothing is missed in between.
  absl::StatusOr<std::unique_ptr<retrieval::FolderWatch>> watch = retrieval::FolderWatch::Open(request->paths);
  if (!watch.ok()) return Fail(watch.status());
  retrieval::DigestCache digests;
  request->digests = &digests;
  retrieval::WatchTimes times;
  times.quiet = std::chrono::milliseconds(flags.quiet_ms);
  bool first = true;
  size_t duplicates = 0;
  while (!Interrupted()) {
    absl::StatusOr<AddReport> report = Carry(**backend, *request);
    if (absl::IsUnavailable(report.status())) {  // another writer has the collection, for a moment
      std::cerr << "blazon: " << report.status().message() << "; trying again" << std::endl;
      const auto until = std::chrono::steady_clock::now() + kRetryInterval;
      while (!Interrupted() && std::chrono::steady_clock::now() < until)
        std::this_thread::sleep_for(std::chrono::milliseconds(50));
      continue;
    }
    if (!report.ok()) return Fail(report.status());
    const Counts counts(*report);
    if (first || counts.added() + counts.replaced() + counts.refused() + report->pruned > 0 ||
        report->duplicates.size() != duplicates) {
      if (context.json) {
        std::cout << SummaryJson(*report) << std::endl;
      } else {
        TellOfFiles(*report);
        std::cout << Summary(*report) << std::endl;
      }
    }
    if (first && !context.json)
      std::cerr << "Watching " << (*watch)->folders() << " folders; Ctrl-C ends it" << std::endl;
    first = false;
    duplicates = report->duplicates.size();
    const absl::StatusOr<retrieval::FolderWatch::Change> change = (*watch)->Wait(times, [] { return !Interrupted(); });
    if (!change.ok()) return Fail(change.status());
    if (change->overflow) {
      digests.Clear();
      std::cerr << "blazon: more changed than could be followed; looking through everything" << std::endl;
    }
  }
  return kDone;
}

}  // namespace

void AddIndexFiles(CLI::App& index, Context& context) {
  auto flags = std::make_shared<FileFlags>();
  const auto add_command = [&](const char* name, const char* about, auto run) {
    CLI::App* command = index.add_subcommand(name, about);
    command->add_option("--collection", flags->collection, "The collection")->type_name("DIR")->required();
    command->add_option("path", flags->paths, "Files, and folders with all beneath them");
    command
        ->add_option("--files-from", flags->files_from, "Read paths from this list, one a line; - reads standard input")
        ->type_name("FILE");
    command->add_flag("-0", flags->nul, "Paths in the list end with a NUL character instead of a line break");
    command
        ->add_option("--source", flags->source,
                     "The name of what paths are relative to (default: the folder's own name)")
        ->type_name("NAME");
    command
        ->add_option("--include", flags->include,
                     "Of folders only files that match a pattern as .gitignore has them, such as '*.md'; repeatable")
        ->type_name("PATTERN")
        ->allow_extra_args(false);
    command->add_option("--exclude", flags->exclude, "Leave out files and folders that match a pattern; repeatable")
        ->type_name("PATTERN")
        ->allow_extra_args(false);
    command->add_flag("--no-gitignore", flags->no_gitignore, "Do not go by .gitignore files");
    command->add_flag("--prune", flags->prune, "Also remove documents of this source whose files are gone");
    command
        ->add_option("--metadata", flags->metadata,
                     "Something that searches can filter by, on every document; repeatable. Documents that are there "
                     "already without it are indexed again; a file that has changed gets what is given then")
        ->type_name("KEY=VALUE")
        ->allow_extra_args(false);
    command
        ->add_option("--language", flags->language,
                     "The language of every document, such as de, whose stems its words are searched by (default: each "
                     "document's own metadata, else detected). Documents that are there with another are indexed again")
        ->type_name("CODE");
    command
        ->add_option(
            "--chunker", flags->chunker,
            "Where documents are cut: at the coarsest of paragraphs, lines and sentences that fits (recursive); "
            "sentence; heading and page: what is under one heading or on one page stays together if it can be "
            "embedded so; code: programs before definitions. Not with --server")
        ->check(CLI::IsMember({"recursive", "sentence", "heading", "page", "code"}))
        ->capture_default_str();
    command->add_option("--chunk-tokens", flags->chunk_tokens, "Tokens of one piece at most; not with --server")
        ->check(CLI::Range(32, 256))
        ->capture_default_str();
    command
        ->add_option("--json-text", flags->json_text,
                     "JSON pointer to what is text in JSON and in each line of JSON Lines, such as /body or "
                     "/items/*/text (default: everything, with its path)")
        ->type_name("POINTER");
    command->callback(
        [flags, &context, run] { context.run = [flags, &context, run] { return run(*flags, context); }; });
    return command;
  };
  const char* strict = "End at the first file that cannot be read, instead of leaving it out; not with --server";
  CLI::App* add =
      add_command("add", "Add files and folders of documents and pictures; unchanged files cost nothing", RunAdd);
  add->add_flag("--strict", flags->strict, strict);
  add->add_flag("--preview", flags->preview,
                "Only show the pieces that documents would be cut into; nothing is changed. Not with --server");
  CLI::App* sync = add_command(
      "sync", "Bring a collection to what is in folders, and say what is new, changed, gone or twice there", RunSync);
  sync->add_flag("--strict", flags->strict, strict);
  CLI::Option* near = sync->add_option(
      "--near-duplicates", flags->near_duplicates,
      "Tell of documents that are nearly the same as a new or changed one, from this share of common runs "
      "of five words on, 0.5 to 1; both stay. Not with --server");
  near->type_name("SHARE")->check(CLI::Range(0.5, 1.0));
  sync->add_flag("--dry-run", flags->dry_run, "Only say what would be done; not with --server")->excludes(near);
  CLI::App* watch = add_command("watch", "Sync folders now and whenever something changes in them",
                                [](const FileFlags& f, Context& c) { return RunWatch(f, c); });
  watch
      ->add_option("--quiet-ms", flags->quiet_ms,
                   "Begin when nothing has changed for so many milliseconds, or after ten seconds at the latest")
      ->check(CLI::Range(1, 10000))
      ->capture_default_str();
}

}  // namespace blazon::service::cli
