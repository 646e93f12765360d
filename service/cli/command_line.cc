#include "service/cli/command_line.h"

#include <CLI/CLI.hpp>
#include <exception>
#include <iostream>
#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/types/span.h"
#include "service/cli/commands.h"
#include "service/cli/context.h"
#include "service/cli/interrupt.h"
#include "service/cli/terminal_guard.h"
#include "service/training/process_group.h"

namespace blazon::service::cli {
namespace {

constexpr std::string_view kAbout =
    R"(Blazon puts into words what it sees, and what your documents say.

It captions pictures, answers questions over your documents with sources, and generates text, with models that run here.)";

constexpr std::string_view kExamples = R"(Examples:
  blazon caption photo.jpg
  blazon index add --collection ./notes ~/notes
  blazon ask --collection ./notes "When does the library open?"
  blazon generate --temperature 0 "The three primary colours are"
  blazon serve --address 127.0.0.1:50051 --data ./data
  blazon caption --server 127.0.0.1:50051 --json photo.jpg

'blazon COMMAND --help' tells more. The options above may also stand after the command. Every option can be set in a TOML
file (--config FILE: 'threads = 2' at the top, '[generate]' before a command's own) and in the environment (BLAZON_THREADS=2,
BLAZON_COLLECTION=./notes); the command line wins, then the file, then the environment.

Results go to standard output, progress and errors to standard error.
Exit status: 0 done, 1 failed, 2 wrong usage, 3 nothing found or no answer in the documents, 130 interrupted.)";

// --some-flag can also be set as BLAZON_SOME_FLAG, in every command.
void NameInEnvironment(CLI::App& app) {
  for (CLI::Option* option : app.get_options()) {
    if (option->get_lnames().empty() || option->get_lnames().front() == "help" ||
        option->get_lnames().front() == "version")
      continue;
    option->envname(absl::StrCat(
        "BLAZON_", absl::AsciiStrToUpper(absl::StrReplaceAll(option->get_lnames().front(), {{"-", "_"}}))));
  }
  for (CLI::App* command : app.get_subcommands(nullptr)) NameInEnvironment(*command);
}

void AddCommonOptions(CLI::App& app, Context& context) {
  app.set_help_flag("-h,--help", "Show this help and stop");
  app.set_version_flag("--version", "blazon " BLAZON_VERSION, "Show the version and stop");
  app.set_config("--config", "", "Read options from this TOML file");
  app.add_flag("--json", context.json,
               "Print one JSON object a line: the message of proto/blazon/v1, with its field names");
  app.add_option("--server", context.server, "Let this running server do the work, instead of this process")
      ->type_name("HOST:PORT");
  app.add_option("--models", context.models.models_folder,
                 "The folder of the default models (default: found beside the program)")
      ->type_name("DIR");
  app.add_option("--assets", context.models.assets_folder,
                 "The folder of the trained captioner (default: found beside the program)")
      ->type_name("DIR");
  app.add_option(
         "--model", context.models.language_model,
         "The language model: a Hugging Face folder, a GGUF file, or the name of one that 'models pull' fetched")
      ->type_name("PATH|REPO");
  app.add_option(
         "--adapter", context.models.adapter,
         "An adapter for the language model: a folder in PEFT's layout, as 'train sft' writes it; with --server "
         "the name of one that it has loaded")
      ->type_name("DIR|NAME");
  app.add_option("--tokenizer", context.models.tokenizer,
                 "A folder with the language model's tokenizer, where its own folder has none (nanoVLM)")
      ->type_name("DIR");
  app.add_option("--dtype", context.models.dtype, "How to compute: auto keeps quantised weights, fp32 is the reference")
      ->check(CLI::IsMember({"auto", "fp32", "bf16", "fp16"}))
      ->capture_default_str();
  app.add_option("--device", context.models.device, "Where models compute: cpu or cuda[:N]")->capture_default_str();
  app.add_option("--threads", context.models.threads, "Compute threads; 0: one for each core")
      ->check(CLI::Range(0, 1024))
      ->capture_default_str();
  app.add_option("--seed", context.seed,
                 "Seed of sampling: the same seed gives the same text (default: random, named in the reply)");
}

}  // namespace

int RunCommandLine(int argc, char** argv) {
  CLI::App app{std::string(kAbout), "blazon"};
  Context context;
  context.arguments.assign(argv, argv + argc);
  context.command_line = absl::StrJoin(context.arguments, " ");
  app.footer(std::string(kExamples));
  app.require_subcommand(1);
  app.fallthrough();
  AddCommonOptions(app, context);
  AddCaption(app, context);
  AddAsk(app, context);
  AddGenerate(app, context);
  AddChat(app, context);
  AddIndex(app, context);
  AddEmbed(app, context);
  AddScore(app, context);
  AddEval(app, context);
  AddTokenize(app, context);
  AddTrain(app, context);
  AddModels(app, context);
  AddServe(app, context);
  AddHealth(app, context);
  NameInEnvironment(app);

  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error, std::cout, std::cerr) == 0 ? kDone : kWrongUsage;
  }
  if (absl::Status status = context.CheckOptions(); !status.ok()) return Fail(status, kWrongUsage);
  if (app.got_subcommand("train") && context.models.device != "cpu")
    return Fail(absl::InvalidArgumentError("training computes on the CPU; leave out --device"), kWrongUsage);
  if (app.got_subcommand("train") && !context.takes_processes) {
    const auto place = PlaceInEnvironment();
    if (!place.ok() || place->has_value()) {
      return Fail(
          absl::UnimplementedError("the environment's WORLD_SIZE is above 1, and this kind of training runs in one "
                                   "process; sft, finetune, dpo, reward and gpt take several"),
          kWrongUsage);
    }
  }
  if (!context.handles_signals) WatchForInterrupt();
  try {
    const TerminalGuard guard;
    const int exit_status = context.run();
    std::cout.flush();
    if (Interrupted()) return kInterrupted;
    if (!std::cout && exit_status == kDone) return Fail(absl::DataLossError("standard output could not be written"));
    return exit_status;
  } catch (const std::bad_alloc&) {
    return Fail(absl::ResourceExhaustedError("out of memory"));
  } catch (const std::exception&) {
    return Fail(absl::InternalError("an unexpected error; please report what you did"));
  }
}

}  // namespace blazon::service::cli
