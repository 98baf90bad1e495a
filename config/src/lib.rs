//! What operators write and every part shares
