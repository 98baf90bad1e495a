//! Which parts of which variables an expression reads.
//!
//! An execution's input or a list of four hundred jobs may be large, and converting it for every expression would
//! make a chain's cost quadratic. So each expression is looked at once: `$states.input.scripts` asks for one field
//! of one part of `$states`, and only that is converted. What cannot be told statically (a bare `$jobs`, a computed
//! step, a predicate) asks for everything from there on. Locally bound names are over-approximated: harmless.

use std::collections::BTreeMap;

use jsonata_core::ast::{AstNode, BinaryOp, PathStep, Stage};

/// What is read of one value.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Demand {
    /// Everything below; `fields` then does not matter.
    pub(crate) whole: bool,
    pub(crate) fields: BTreeMap<String, Demand>,
}

impl Demand {
    /// What is read of `field`, if anything.
    pub(crate) fn field(&self, field: &str) -> Option<&Demand> {
        if self.whole { Some(self) } else { self.fields.get(field) }
    }
}

/// What an expression reads.
#[derive(Debug, Default)]
pub(crate) struct Demands {
    pub(crate) variables: BTreeMap<String, Demand>,
    /// It calls `$eval`, or at least names it.
    pub(crate) eval: bool,
}

impl Demands {
    pub(crate) fn of(ast: &AstNode) -> Self {
        let mut demands = Self::default();
        demands.node(ast);
        demands
    }

    fn whole(&mut self, name: &str) {
        self.eval |= name == "eval";
        self.variables.entry(name.to_owned()).or_default().whole = true;
    }

    fn nodes<'a>(&mut self, nodes: impl IntoIterator<Item = &'a AstNode>) {
        for node in nodes {
            self.node(node);
        }
    }

    fn pairs(&mut self, pairs: &[(AstNode, AstNode)]) {
        for (key, value) in pairs {
            self.node(key);
            self.node(value);
        }
    }

    fn node(&mut self, node: &AstNode) {
        match node {
            AstNode::Variable(name) => self.whole(name),
            AstNode::Path { steps } => self.path(steps),
            AstNode::Function { name, args, .. } => {
                self.eval |= name == "eval";
                self.nodes(args);
            }
            AstNode::Call { procedure, args } => {
                self.node(procedure);
                self.nodes(args);
            }
            AstNode::Binary { op, lhs, rhs } => {
                if *op != BinaryOp::ColonEqual {
                    self.node(lhs);
                }
                self.node(rhs);
            }
            AstNode::Unary { operand, .. } => self.node(operand),
            AstNode::Lambda { body, .. } => self.node(body),
            AstNode::Array(items) | AstNode::ArrayGroup(items) | AstNode::Block(items) => self.nodes(items),
            AstNode::Object(pairs) => self.pairs(pairs),
            AstNode::ObjectTransform { input, pattern } => {
                self.node(input);
                self.pairs(pattern);
            }
            AstNode::Conditional { condition, then_branch, else_branch } => {
                self.node(condition);
                self.node(then_branch);
                self.nodes(else_branch.as_deref());
            }
            AstNode::FunctionApplication(inner) => self.node(inner),
            AstNode::Sort { input, terms } => {
                self.node(input);
                self.nodes(terms.iter().map(|(term, _)| term));
            }
            AstNode::Transform { location, update, delete } => {
                self.node(location);
                self.node(update);
                self.nodes(delete.as_deref());
            }
            AstNode::String(_)
            | AstNode::Name(_)
            | AstNode::Number(_)
            | AstNode::Boolean(_)
            | AstNode::Null
            | AstNode::Undefined
            | AstNode::Placeholder
            | AstNode::Regex { .. }
            | AstNode::ParentVariable(_)
            | AstNode::Wildcard
            | AstNode::Descendant
            | AstNode::Parent(_) => {}
        }
    }

    fn path(&mut self, steps: &[PathStep]) {
        if let Some(demand) = self.plain_prefix(steps) {
            // The result of the path is used for we do not know what, and so is what other steps look into.
            demand.whole = true;
        }
        for (at, step) in steps.iter().enumerate() {
            if at > 0 || !matches!(step.node, AstNode::Variable(_)) {
                self.node(&step.node);
            }
            for stage in &step.stages {
                if let Stage::Filter(filter) = stage {
                    self.node(filter);
                }
            }
        }
    }

    /// The demand at the end of the path's leading variable and names; `None` when it does not start so.
    fn plain_prefix(&mut self, steps: &[PathStep]) -> Option<&mut Demand> {
        let AstNode::Variable(root) = &steps.first()?.node else { return None };
        self.eval |= root == "eval";
        let mut demand = self.variables.entry(root.clone()).or_default();
        if !is_bare(&steps[0]) || steps.iter().any(|step| step.ancestor_label.is_some()) {
            return Some(demand);
        }
        for step in &steps[1..] {
            let AstNode::Name(name) = &step.node else { break };
            demand = demand.fields.entry(name.clone()).or_default();
            if !is_bare(step) {
                break;
            }
        }
        Some(demand)
    }
}

fn is_bare(step: &PathStep) -> bool {
    step.stages.is_empty()
        && step.focus.is_none()
        && step.index_var.is_none()
        && step.ancestor_label.is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn demands(source: &str) -> String {
        fn show(demand: &Demand) -> String {
            if demand.whole {
                return "*".into();
            }
            let fields: Vec<_> =
                demand.fields.iter().map(|(name, demand)| format!("{name}:{}", show(demand))).collect();
            format!("{{{}}}", fields.join(","))
        }
        let ast = jsonata_core::parser::parse(source).unwrap();
        let demands = Demands::of(&ast);
        demands
            .variables
            .iter()
            .map(|(name, demand)| format!("{name}={}", show(demand)))
            .collect::<Vec<_>>()
            .join(" ")
    }

    #[test]
    fn only_what_is_read_is_asked_for() {
        assert_eq!(demands("$states.input.a.b"), "states={input:{a:{b:*}}}");
        assert_eq!(demands("$count($jobs)"), "jobs=*");
        assert_eq!(demands("$states.input.jobs[name='x'].script"), "states={input:{jobs:*}}");
        assert_eq!(demands("$states.input.jobs[$states.context.Map.Item.Index].script"), {
            "states={context:{Map:{Item:{Index:*}}},input:{jobs:*}}"
        });
        assert_eq!(demands("{'a': $x.y, $k: 1}"), "k=* x={y:*}");
        assert_eq!(demands("$map($states.input.v, function($i) { $i.w & $z })"), {
            "i={w:*} states={input:{v:*}} z=*"
        });
        assert_eq!(demands("$states.input.a.$string(b & $c)"), "c=* states={input:{a:*}}");
        assert_eq!(demands("$states.input.rows^(>amount).id"), "states={input:{rows:*}}");
        assert_eq!(demands("$states.input{kind: $sum(n)}"), "states={input:*}");
        assert_eq!(demands("$states.input.a.b.%.c"), "states=*");
        assert_eq!(demands("($w := $states.input.w; $w.x)"), "states={input:{w:*}} w={x:*}");
        assert_eq!(demands("$states.input.(a + $b)"), "b=* states={input:*}");
        assert_eq!(demands("$states.input.a ~> $f"), "f=* states={input:{a:*}}");
    }

    #[test]
    fn naming_eval_is_noticed() {
        for source in ["$eval('1')", "$map(['1'], $eval)", "'1' ~> $eval"] {
            assert!(Demands::of(&jsonata_core::parser::parse(source).unwrap()).eval, "{source}");
        }
    }
}
