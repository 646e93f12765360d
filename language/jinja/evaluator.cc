#include "language/jinja/evaluator.h"

#include <algorithm>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "language/jinja/arguments.h"
#include "language/jinja/filters.h"
#include "language/jinja/formatting.h"
#include "language/jinja/functions.h"
#include "language/jinja/loop.h"
#include "language/jinja/methods.h"
#include "language/jinja/operators.h"
#include "language/jinja/tests.h"

namespace blazon::language::jinja {

struct Scope {
  const Scope* parent = nullptr;
  std::vector<std::pair<std::string_view, Value>> variables;

  void Set(std::string_view name, Value value) {
    for (auto& [known, old] : variables) {
      if (known == name) {
        old = std::move(value);
        return;
      }
    }
    variables.emplace_back(name, std::move(value));
  }
};

namespace {

enum class Flow { kNext, kBreak, kContinue };

class Evaluator {
 public:
  Evaluator(const Dict& variables, const RenderOptions& options)
      : variables_(variables), run_(options.limits, options.now) {}
  ~Evaluator() {
    // Namespaces may hold each other.
    for (const NamespacePtr& one : namespaces_) one->attributes.clear();
  }

  absl::StatusOr<Text> Run(const Block& block) {
    Scope root;
    Text output;
    output_ = &output;
    Execute(block, &root);
    if (run_.failed()) return run_.status();
    return output;
  }

 private:
  Flow Execute(const Block& block, Scope* scope) {
    for (const Statement& statement : block) {
      const Flow flow = Execute(statement, scope);
      if (run_.failed()) return Flow::kBreak;
      if (flow != Flow::kNext) return flow;
    }
    return Flow::kNext;
  }

  Flow Execute(const Statement& statement, Scope* scope) {
    run_.At(statement.position);
    Flow flow = Flow::kNext;
    if (run_.Enter()) flow = ExecuteEntered(statement, scope);
    run_.Leave();
    return flow;
  }

  Flow ExecuteEntered(const Statement& statement, Scope* scope) {
    switch (statement.kind) {
      case Statement::Kind::kText:
        output_->Append(statement.text);
        run_.TextFits(output_->size());
        break;
      case Statement::Kind::kOutput: {
        const Value value = Evaluate(*statement.expression, *scope);
        if (!run_.failed()) AppendStr(run_, value, output_);
        run_.TextFits(output_->size());
        break;
      }
      case Statement::Kind::kFor:
        ExecuteFor(statement, scope);
        break;
      case Statement::Kind::kIf:
        for (const Statement::Branch& branch : statement.branches) {
          const bool taken = Evaluate(*branch.test, *scope).Truth();
          if (run_.failed()) return Flow::kBreak;
          if (taken) return Execute(branch.body, scope);
        }
        return Execute(statement.otherwise, scope);
      case Statement::Kind::kSet:
        Assign(statement.target, Evaluate(*statement.expression, *scope), scope);
        break;
      case Statement::Kind::kSetBlock: {
        const Value text = Captured(statement, scope);
        Assign(statement.target, statement.expression ? Filtered(*statement.expression, text, *scope) : text, scope);
        break;
      }
      case Statement::Kind::kFilter: {
        Scope inner{scope, {}};  // of the filter's arguments too
        const Value text = Captured(statement.body, &inner);
        const Value value = Filtered(*statement.expression, text, inner);
        if (!run_.failed()) AppendStr(run_, value, output_);
        break;
      }
      case Statement::Kind::kMacro:
        scope->Set(statement.name, Macro{&statement, scope});
        break;
      case Statement::Kind::kWith: {
        Scope inner{scope, {}};
        for (const Statement::Parameter& assignment : statement.parameters) {
          inner.Set(assignment.name, Evaluate(*assignment.value, *scope));
        }
        if (!run_.failed()) Execute(statement.body, &inner);
        break;
      }
      case Statement::Kind::kGeneration: {
        const Value text = Captured(statement, scope);
        if (!run_.failed()) AppendStr(run_, text, output_);
        break;
      }
      case Statement::Kind::kBreak:
        return Flow::kBreak;
      case Statement::Kind::kContinue:
        return Flow::kContinue;
      case Statement::Kind::kHide:
        for (const std::string& name : statement.names) {
          scope->Set(name, Undefined{absl::StrCat("'", name, "' is undefined")});
        }
        break;
    }
    return Flow::kNext;
  }

  // What the body writes, in a scope of its own.
  Value Captured(const Statement& statement, Scope* scope) {
    Scope inner{scope, {}};
    return Captured(statement.body, &inner);
  }
  Value Captured(const Block& body, Scope* scope) {
    Text text;
    Text* const outer = std::exchange(output_, &text);
    Execute(body, scope);
    output_ = outer;
    return run_.MayMakeText(text.size()) ? Value(std::move(text)) : Value();
  }

  void ExecuteFor(const Statement& statement, Scope* scope) {
    const Value iterable = Evaluate(*statement.expression, *scope);
    if (run_.failed()) return;
    std::function<bool(const Value&)> passes;
    if (statement.test != nullptr) {
      passes = [&](const Value& item) {
        Scope inner{scope, {}};
        Assign(statement.target, item, &inner);
        return !run_.failed() && Evaluate(*statement.test, inner).Truth();
      };
    }
    Loop loop(run_, Iterate(run_, iterable), std::move(passes));
    // As Jinja has it, an iteration that breaks or continues does not count as one for `else`.
    bool completed_one = false;
    while (std::optional<Value> item = loop.Next()) {
      Scope inner{scope, {}};
      inner.Set("loop", &loop);
      Assign(statement.target, *std::move(item), &inner);
      if (run_.failed()) return;
      const Flow flow = Execute(statement.body, &inner);
      if (run_.failed() || flow == Flow::kBreak) break;
      completed_one = completed_one || flow == Flow::kNext;
    }
    if (run_.failed() || completed_one) return;
    Scope inner{scope, {}};
    Execute(statement.otherwise, &inner);
  }

  void Assign(const Target& target, Value value, Scope* scope) {
    if (run_.failed()) return;
    run_.At(target.position);
    if (!target.parts.empty()) {
      const std::vector<Value> items = Iterate(run_, value);
      if (!run_.failed() && items.size() != target.parts.size()) {
        run_.Fail(absl::StrCat(target.parts.size(), " values are needed to unpack, not ", items.size()));
      }
      for (size_t i = 0; i < target.parts.size() && !run_.failed(); ++i) Assign(target.parts[i], items[i], scope);
    } else if (target.attribute.empty()) {
      scope->Set(target.name, std::move(value));
    } else {
      const Value object = Lookup(target.name, *scope);
      if (!object.Is<NamespacePtr>()) {
        run_.Fail(absl::StrCat("'", target.name, "' is no namespace; only attributes of one can be assigned to"));
      } else if (!value.Storable()) {
        run_.Refuse(absl::StrCat("a ", std::string(value.TypeName()), " in a namespace"));
      } else {
        SetAttribute(object.As<NamespacePtr>().get(), target.attribute, std::move(value));
      }
    }
  }

  Value Lookup(const std::string& name, const Scope& scope) {
    for (const Scope* one = &scope; one != nullptr; one = one->parent) {
      for (const auto& [known, value] : one->variables) {
        if (known == name) return value;
      }
    }
    if (const Value* value = variables_.Find(std::string_view(name))) return *value;
    return Global(run_, name);
  }

  Value Evaluate(const Expression& expression, const Scope& scope) {
    run_.At(expression.position);
    Value value;
    if (run_.Enter()) value = EvaluateEntered(expression, scope);
    run_.Leave();
    return run_.failed() ? Value() : value;
  }

  Value Child(const Expression& expression, size_t index, const Scope& scope) {
    return Evaluate(*expression.children[index], scope);
  }

  Value EvaluateEntered(const Expression& e, const Scope& scope) {
    using Kind = Expression::Kind;
    switch (e.kind) {
      case Kind::kLiteral:
        return e.literal;
      case Kind::kName:
        return Lookup(e.name, scope);
      case Kind::kTuple:
      case Kind::kList: {
        std::vector<Value> items;
        for (size_t i = 0; i < e.children.size() && !run_.failed(); ++i) items.push_back(Child(e, i, scope));
        return run_.MakeList(std::move(items), e.kind == Kind::kTuple ? SequenceKind::kTuple : SequenceKind::kList);
      }
      case Kind::kDict:
        return EvaluateDict(e, scope);
      case Kind::kUnary: {
        const Value operand = Child(e, 0, scope);
        if (run_.failed()) return Value();
        return e.name == "not" ? Value(!operand.Truth()) : Signed(run_, e.name, operand);
      }
      case Kind::kBinary: {
        const Value left = Child(e, 0, scope), right = Child(e, 1, scope);
        run_.At(e.position);
        return run_.failed() ? Value() : Arithmetic(run_, e.name, left, right);
      }
      case Kind::kAnd:
      case Kind::kOr: {
        Value left = Child(e, 0, scope);
        if (run_.failed() || left.Truth() == (e.kind == Kind::kOr)) return left;
        return Child(e, 1, scope);
      }
      case Kind::kCompare:
        return EvaluateCompare(e, scope);
      case Kind::kConcatenate: {
        Text text;
        std::vector<Value> parts;
        for (size_t i = 0; i < e.children.size() && !run_.failed(); ++i) parts.push_back(Child(e, i, scope));
        for (size_t i = 0; i < parts.size() && !run_.failed(); ++i) AppendStr(run_, parts[i], &text);
        return run_.MayMakeText(text.size()) ? Value(std::move(text)) : Value();
      }
      case Kind::kConditional: {
        const bool test = Child(e, 0, scope).Truth();
        if (run_.failed()) return Value();
        if (test) return Child(e, 1, scope);
        if (e.children[2] != nullptr) return Child(e, 2, scope);
        return Undefined{"the inline if has no else"};
      }
      case Kind::kAttribute: {
        const Value object = Child(e, 0, scope);
        run_.At(e.position);
        return run_.failed() ? Value() : Attribute(run_, object, e.name);
      }
      case Kind::kItem: {
        const Value object = Child(e, 0, scope), key = Child(e, 1, scope);
        run_.At(e.position);
        return run_.failed() ? Value() : Item(run_, object, key);
      }
      case Kind::kSlice: {
        const Value object = Child(e, 0, scope);
        std::optional<Value> parts[3];
        for (size_t i = 0; i < 3 && !run_.failed(); ++i) {
          if (e.children[i + 1] != nullptr) parts[i] = Child(e, i + 1, scope);
        }
        run_.At(e.position);
        return run_.failed() ? Value() : Slice(run_, object, parts[0], parts[1], parts[2]);
      }
      case Kind::kCall:
        return EvaluateCall(e, scope);
      case Kind::kFilter: {
        const Value input = Child(e, 0, scope);
        return run_.failed() ? Value() : Filter(e, input, scope);
      }
      case Kind::kTest: {
        const Value operand = Child(e, 0, scope);
        const Arguments arguments = EvaluateArguments(e, scope);
        run_.At(e.position);
        return run_.failed() ? Value() : Value(PassesTest(run_, e.name, operand, arguments));
      }
    }
    return Value();
  }

  Value EvaluateDict(const Expression& e, const Scope& scope) {
    Dict dict;
    for (size_t i = 0; i + 1 < e.children.size() && !run_.failed(); i += 2) {
      const Value key = Child(e, i, scope);
      Value value = Child(e, i + 1, scope);
      if (key.AsSequence() != nullptr || key.AsDict() != nullptr || !key.Storable())
        return run_.Refuse("a container as key");
      dict.Set(key, std::move(value));
    }
    return run_.failed() ? Value() : run_.MakeDict(std::move(dict));
  }

  // a < b < c: each pair in turn, up to the first that does not hold.
  Value EvaluateCompare(const Expression& e, const Scope& scope) {
    Value left = Child(e, 0, scope);
    for (size_t i = 0; i < e.operators.size(); ++i) {
      Value right = Child(e, i + 1, scope);
      if (run_.failed()) return Value();
      run_.At(e.position);
      if (!Compare(run_, e.operators[i], left, right)) return false;
      left = std::move(right);
    }
    return true;
  }

  Arguments EvaluateArguments(const Expression& e, const Scope& scope) {
    Arguments arguments;
    for (const ExpressionPtr& argument : e.arguments.positional) {
      if (!run_.failed()) arguments.positional.push_back(Evaluate(*argument, scope));
    }
    for (const auto& [name, argument] : e.arguments.named) {
      if (!run_.failed()) arguments.named.emplace_back(name, Evaluate(*argument, scope));
    }
    return arguments;
  }

  Value Filter(const Expression& e, const Value& input, const Scope& scope) {
    const Arguments arguments = EvaluateArguments(e, scope);
    run_.At(e.position);
    return run_.failed() ? Value() : ApplyFilter(run_, e.name, input, arguments);
  }

  // A chain of filters whose innermost input is `input`.
  Value Filtered(const Expression& e, const Value& input, const Scope& scope) {
    const Value inner = e.children[0] == nullptr ? input : Filtered(*e.children[0], input, scope);
    return run_.failed() ? Value() : Filter(e, inner, scope);
  }

  Value EvaluateCall(const Expression& e, const Scope& scope) {
    const Value callee = Child(e, 0, scope);
    const Arguments arguments = EvaluateArguments(e, scope);
    run_.At(e.position);
    if (run_.failed()) return Value();
    if (callee.Is<MethodPtr>()) return CallMethod(run_, *callee.As<MethodPtr>(), arguments);
    if (callee.Is<Macro>()) return CallMacro(callee.As<Macro>(), arguments);
    if (callee.Is<Function>()) {
      Value result = CallFunction(run_, callee.As<Function>(), arguments);
      if (result.Is<NamespacePtr>()) namespaces_.push_back(result.As<NamespacePtr>());
      if (namespaces_.size() > kMaxNamespaces) return run_.Refuse("more than 10000 namespaces");
      return result;
    }
    if (callee.IsUndefined()) return run_.Fail(callee.As<Undefined>().what);
    return run_.Fail(absl::StrCat("a value of type ", std::string(callee.TypeName()), " cannot be called"));
  }

  Value CallMacro(const Macro& macro, const Arguments& arguments) {
    const std::vector<Statement::Parameter>& parameters = macro.definition->parameters;
    if (arguments.positional.size() > parameters.size()) {
      return run_.Fail(absl::StrCat("the macro '", macro.definition->name, "' takes at most ", parameters.size(),
                                    " arguments, not ", arguments.positional.size()));
    }
    for (size_t i = 0; i < arguments.named.size(); ++i) {
      const auto known = std::find_if(parameters.begin(), parameters.end(), [&](const auto& parameter) {
        return parameter.name == arguments.named[i].first;
      });
      if (known == parameters.end() || static_cast<size_t>(known - parameters.begin()) < arguments.positional.size()) {
        return run_.Fail(absl::StrCat("the macro '", macro.definition->name, "' has no argument '",
                                      arguments.named[i].first, "', or is given it twice"));
      }
    }
    Scope inner{macro.scope, {}};
    // A parameter that is not given hides what is outside, also while the defaults of those before it are evaluated.
    for (const Statement::Parameter& parameter : parameters) {
      inner.Set(parameter.name, Undefined{absl::StrCat("parameter '", parameter.name, "' was not provided")});
    }
    for (size_t i = 0; i < parameters.size() && !run_.failed(); ++i) {
      const auto named = std::find_if(arguments.named.begin(), arguments.named.end(),
                                      [&](const auto& argument) { return argument.first == parameters[i].name; });
      if (i < arguments.positional.size()) {
        inner.Set(parameters[i].name, arguments.positional[i]);
      } else if (named != arguments.named.end()) {
        inner.Set(parameters[i].name, named->second);
      } else if (parameters[i].value != nullptr) {
        inner.Set(parameters[i].name, Evaluate(*parameters[i].value, inner));
      }
    }
    return run_.failed() ? Value() : Captured(macro.definition->body, &inner);
  }

  static constexpr size_t kMaxNamespaces = 10'000;

  const Dict& variables_;
  Execution run_;
  Text* output_ = nullptr;
  std::vector<NamespacePtr> namespaces_;  // all of this rendering
};

}  // namespace

absl::StatusOr<Text> Render(const Block& block, const Dict& variables, const RenderOptions& options) {
  return Evaluator(variables, options).Run(block);
}

}  // namespace blazon::language::jinja
