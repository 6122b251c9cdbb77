//! The migrations of the database's schema, and the initial reviews of a new shop.

use shop_platform::database::Migration;

/// Times are milliseconds since 1970-01-01 UTC.
pub(crate) const MIGRATIONS: &[Migration] = &[REVIEWS, RATINGS];

const REVIEWS: Migration = Migration {
    statements: &[
        "CREATE TABLE review (
            id {identity},
            product_id BIGINT NOT NULL,
            author TEXT NOT NULL,
            description TEXT NOT NULL,
            rating INTEGER NOT NULL CHECK (rating BETWEEN 1 AND 10),
            written_at_ms BIGINT NOT NULL
        )",
        "CREATE INDEX review_by_product ON review (product_id, id)",
        "INSERT INTO review (product_id, author, description, rating, written_at_ms) VALUES
            (1, 'Asha', 'Light, silent, and it lasts the whole working day. The screen is a joy.', 9, 1736931600000),
            (1, 'tomk', 'Very good machine, but I would have liked one more port.', 8, 1739178900000),
            (1, 'Ines', 'Third one in our studio. Never a problem.', 10, 1741604400000),
            (2, 'Bjarne', 'Finally a keyboard again that one can write on.', 9, 1738240200000),
            (2, 'mira_k', 'Heavy, and worth it.', 7, 1740992400000),
            (3, 'Leo', 'The night pictures are unreal.', 9, 1737545400000),
            (3, 'Priya', 'Beautiful phone. Gets warm when navigating.', 7, 1742032800000),
            (4, 'Nadia', 'It fits my pocket. That is all I wanted.', 10, 1739868300000),
            (5, 'Okan', 'The office is gone when I put them on.', 9, 1740555000000),
            (5, 'june', 'Great sound, a bit tight on the head at first.', 8, 1742982000000),
            (7, 'Mateo', 'Dials for everything. My old lenses love it.', 10, 1741268700000),
            (8, 'Hana', 'In my coat since the day it came.', 9, 1742724000000),
            (9, 'Ravi', 'Looks like a watch, not like a telephone.', 8, 1738756800000),
            (11, 'Elif', 'The arm really stays where you put it.', 9, 1743231600000),
            (12, 'sam', 'I fall asleep over my book again, in the best light.', 9, 1741950000000)",
    ],
};

/// The results of the nightly job, as sums and counts, so that they can be rounded
/// exactly.
const RATINGS: Migration = Migration {
    statements: &["CREATE TABLE product_rating (
            product_id BIGINT PRIMARY KEY,
            reviews BIGINT NOT NULL,
            rating_sum BIGINT NOT NULL,
            computed_at_ms BIGINT NOT NULL
        )"],
};
