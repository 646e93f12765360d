#include "language/jinja/scoping.h"

#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace blazon::language::jinja {
namespace {

// The names of one scope; or of a branch of an `if` in it, over what was known before the `if`.
class Names {
 public:
  // around: the scope outside; null: none. before: of a branch, the names before it.
  explicit Names(const Names* around, const Names* before = nullptr) : around_(around), before_(before) {}

  Names Branch() const { return Names(around_, this); }

  void Declare(const std::string& name) {  // a parameter, or a loop's target
    stored_.insert(name);
    known_[name] = Beginning::kDefined;
  }
  void Read(const std::string& name) {
    if (!IsOwn(name) && !IsAround(name)) known_[name] = Beginning::kDefined;
  }
  void Store(const std::string& name) {
    stored_.insert(name);
    if (!IsOwn(name)) known_[name] = IsAround(name) ? Beginning::kDefined : Beginning::kUndefined;
  }
  // What is set in a branch alone may never be set: it has at first what the name means outside.
  void Take(const std::vector<Names>& branches) {
    std::set<std::string> stored;
    for (const Names& branch : branches) {
      for (const auto& [name, beginning] : branch.known_) known_[name] = beginning;
      for (const std::string& name : branch.stored_) {
        if (!IsStored(name)) stored.insert(name);
      }
    }
    for (const std::string& name : stored) {
      known_[name] = Beginning::kDefined;
      stored_.insert(name);
    }
  }

  std::vector<std::string> UndefinedAtFirst() const {
    std::vector<std::string> names;
    for (const auto& [name, beginning] : known_) {
      if (beginning == Beginning::kUndefined) names.push_back(name);
    }
    return names;
  }

 private:
  enum class Beginning { kUndefined, kDefined };  // kDefined: it has a value from outside, where there is one

  bool IsOwn(const std::string& name) const {
    return known_.contains(name) || (before_ != nullptr && before_->IsOwn(name));
  }
  bool IsStored(const std::string& name) const {
    return stored_.contains(name) || (before_ != nullptr && before_->IsStored(name));
  }
  bool IsAround(const std::string& name) const {
    return around_ != nullptr && (around_->IsOwn(name) || around_->IsAround(name));
  }

  const Names* around_;
  const Names* before_;
  std::map<std::string, Beginning> known_;
  std::set<std::string> stored_;
};

void Read(const Expression* e, Names* names) {
  if (e == nullptr) return;
  if (e->kind == Expression::Kind::kName) names->Read(e->name);
  for (const ExpressionPtr& child : e->children) Read(child.get(), names);
  for (const ExpressionPtr& argument : e->arguments.positional) Read(argument.get(), names);
  for (const auto& [name, argument] : e->arguments.named) Read(argument.get(), names);
}

void Store(const Target& target, Names* names) {
  for (const Target& part : target.parts) Store(part, names);
  if (!target.parts.empty()) return;
  target.attribute.empty() ? names->Store(target.name) : names->Read(target.name);
}

void Declare(const Target& target, Names* names) {
  for (const Target& part : target.parts) Declare(part, names);
  if (target.parts.empty()) names->Declare(target.name);
}

// What the statements of one scope read and set; not those of scopes inside.
void Collect(const Block& block, Names* names) {
  for (const Statement& statement : block) {
    switch (statement.kind) {
      case Statement::Kind::kOutput:
      case Statement::Kind::kFor:
      case Statement::Kind::kFilter:
        Read(statement.expression.get(), names);
        break;
      case Statement::Kind::kIf: {
        // An `elif` is an `if` in the branch for else, and the last else beside them.
        Read(statement.branches[0].test.get(), names);
        std::vector<Names> branches = {names->Branch(), names->Branch(), names->Branch()};
        Collect(statement.branches[0].body, &branches[0]);
        for (size_t i = 1; i < statement.branches.size(); ++i) {
          Read(statement.branches[i].test.get(), &branches[1]);
          std::vector<Names> one = {branches[1].Branch()};
          Collect(statement.branches[i].body, &one[0]);
          branches[1].Take(one);
        }
        Collect(statement.otherwise, &branches[2]);
        names->Take(branches);
        break;
      }
      case Statement::Kind::kSet:
        Read(statement.expression.get(), names);
        Store(statement.target, names);
        break;
      case Statement::Kind::kSetBlock:
        Store(statement.target, names);
        break;
      case Statement::Kind::kMacro:
        names->Store(statement.name);
        break;
      case Statement::Kind::kWith:
        for (const Statement::Parameter& assignment : statement.parameters) Read(assignment.value.get(), names);
        break;
      case Statement::Kind::kText:
      case Statement::Kind::kGeneration:
      case Statement::Kind::kBreak:
      case Statement::Kind::kContinue:
      case Statement::Kind::kHide:
        break;
    }
  }
}

void HideInside(Block* block, const Names& names);

// `block` is the body of a scope, whose parameters `names` has already.
void Hide(Block* block, Names names) {
  Collect(*block, &names);
  HideInside(block, names);
  Statement hide;
  hide.kind = Statement::Kind::kHide;
  hide.names = names.UndefinedAtFirst();
  if (!hide.names.empty()) block->insert(block->begin(), std::move(hide));
}

// The scopes within a scope that has `names`.
void HideInside(Block* block, const Names& names) {
  for (Statement& statement : *block) {
    for (Statement::Branch& branch : statement.branches) HideInside(&branch.body, names);
    if (statement.kind == Statement::Kind::kIf) HideInside(&statement.otherwise, names);
    if (statement.body.empty() && statement.otherwise.empty()) continue;
    Names inner(&names);
    switch (statement.kind) {
      case Statement::Kind::kFor:
        Declare(statement.target, &inner);
        inner.Declare("loop");
        Hide(&statement.otherwise, Names(&names));
        break;
      case Statement::Kind::kMacro:
        for (const Statement::Parameter& parameter : statement.parameters) inner.Declare(parameter.name);
        for (const Statement::Parameter& parameter : statement.parameters) Read(parameter.value.get(), &inner);
        break;
      case Statement::Kind::kWith:
        for (const Statement::Parameter& assignment : statement.parameters) inner.Declare(assignment.name);
        break;
      case Statement::Kind::kSetBlock:
      case Statement::Kind::kFilter:
      case Statement::Kind::kGeneration:
        break;
      default:
        continue;
    }
    Hide(&statement.body, std::move(inner));
  }
}

}  // namespace

void HideNamesBeforeTheyAreSet(Block* root) { Hide(root, Names(nullptr)); }

}  // namespace blazon::language::jinja
