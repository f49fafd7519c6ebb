//! One public function for each promise of a role; every implementation runs them all.
