// One function a command: it adds the command and its options to the program, and sets Context::run when it is chosen.
#pragma once

namespace CLI {
class App;
}

namespace blazon::service::cli {

struct Context;

void AddAsk(CLI::App& app, Context& context);
void AddCaption(CLI::App& app, Context& context);
void AddChat(CLI::App& app, Context& context);
void AddEmbed(CLI::App& app, Context& context);
void AddEval(CLI::App& app, Context& context);
void AddEvalLm(CLI::App& eval, Context& context);  // eval: the command of that name
void AddGenerate(CLI::App& app, Context& context);
void AddHealth(CLI::App& app, Context& context);
void AddIndex(CLI::App& app, Context& context);
// Adds add, sync and watch to the command `index`.
void AddIndexFiles(CLI::App& index, Context& context);
// Adds verify, repair, snapshot and restore to the command `index`.
void AddIndexCare(CLI::App& index, Context& context);
void AddIndexEval(CLI::App& index, Context& context);  // index: the command of that name
// Adds export and import to the command `index`.
void AddIndexTransfer(CLI::App& index, Context& context);
void AddModels(CLI::App& app, Context& context);
void AddModelsAdapters(CLI::App& models, Context& context);  // models: the command of that name
void AddModelsExport(CLI::App& models, Context& context);    // models: the command of that name
void AddModelsPull(CLI::App& models, Context& context);      // models: the command of that name
void AddScore(CLI::App& app, Context& context);
void AddServe(CLI::App& app, Context& context);
void AddTokenize(CLI::App& app, Context& context);
void AddTrain(CLI::App& app, Context& context);
// train: the command of that name
void AddTrainFinetune(CLI::App& train, Context& context);
void AddTrainAnswerRecords(CLI::App& train, Context& context);
void AddTrainDpo(CLI::App& train, Context& context);
void AddTrainGpt(CLI::App& train, Context& context);
void AddTrainSeq2Seq(CLI::App& train, Context& context);
void AddTrainSft(CLI::App& train, Context& context);
void AddTrainTokenizer(CLI::App& train, Context& context);

}  // namespace blazon::service::cli
