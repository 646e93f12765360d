// The commands that learn from preferences and scores, and those that measure what was learned; as commands.h.
#pragma once

namespace CLI {
class App;
}

namespace blazon::service::cli {

struct Context;

// train, eval: the commands of these names.
void AddTrainReward(CLI::App& train, Context& context);
void AddTrainPolicies(CLI::App& train, Context& context);  // grpo and ppo
void AddTrainRate(CLI::App& train, Context& context);
void AddEvalReward(CLI::App& eval, Context& context);
void AddEvalAnswers(CLI::App& eval, Context& context);

}  // namespace blazon::service::cli
